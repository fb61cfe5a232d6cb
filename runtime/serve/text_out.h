/* text_out.h - the text of one answer: tokens become whole UTF-8 characters, stop strings end it,
 * and what might still become one is held back. */
#ifndef TERN_SERVE_TEXT_OUT_H
#define TERN_SERVE_TEXT_OUT_H

#include "serve/buffer.h"
#include "tern/tokenizer.h"

typedef struct text_stops {
    char **list; /* none of them empty */
    int n;
} text_stops;

typedef struct text_out {
    tern_utf8_stream utf8;
    serve_buffer text; /* all of it, valid UTF-8 */
    size_t begin;      /* of the answer: behind an echoed prompt, which holds no stop string */
    size_t ready;      /* bytes that no stop string can take back */
    size_t sent;       /* bytes that the client has */
    int stopped;       /* a stop string was found; the text ends before it */
} text_out;

/* Appends the bytes of a token. */
void tern_text_push(text_out *out, const text_stops *stops, const char *bytes, size_t n);

/* At the end of the answer: everything is ready. */
void tern_text_finish(text_out *out, const text_stops *stops);

/* What is ready and was not taken before; *n is its length. Whole characters. Nothing when text has
 * failed: the answer is lost then. */
const char *tern_text_take(text_out *out, size_t *n);

void tern_text_free(text_out *out);

#endif
