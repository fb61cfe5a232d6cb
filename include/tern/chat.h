/* tern/chat.h - messages of a conversation to a prompt, in the words that a model was trained on.
 *
 * A template writes every message as: before, role, between, content, after; the prompt for an
 * answer is the beginning of one more message of the assistant. With | for the end of each part:
 *   bitnet   |User|: |content|<|eot_id|>                           BitNet b1.58 2B4T
 *   llama3   <|start_header_id|>|user|<|end_header_id|>\n\n|content|<|eot_id|>
 *   falcon3  |<|user|>|\n|content|\n
 *   chatml   <|im_start|>|user|\n|content|<|im_end|>\n
 * bitnet and llama3 strip white space from both ends of a content.
 *
 * What stands in a content is text and nothing else: control tokens come from the template alone,
 * also where the vocabulary holds its markers as user-defined tokens or not at all.
 *
 * An answer ends with a token for which tern_tokenizer_is_end() holds; that set covers the end
 * tokens of all four.
 *
 * Sources: FORMATS 13 (the models' own templates as published; llama.cpp's names for them). All
 * functions may be called from any thread.
 */
#ifndef TERN_CHAT_H
#define TERN_CHAT_H

#include "tern/tokenizer.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum tern_chat_format {
    TERN_CHAT_NONE,    /* a base model: it continues text */
    TERN_CHAT_UNKNOWN, /* the file has a template, but none of these */
    TERN_CHAT_BITNET,
    TERN_CHAT_LLAMA3,
    TERN_CHAT_FALCON3,
    TERN_CHAT_CHATML,
    TERN_N_CHAT_FORMATS,
} tern_chat_format;

/* "none", "unknown", "bitnet", ... */
const char *tern_chat_name(tern_chat_format format);

/* The format of that name. TERN_E_USAGE for another one; the sentence lists the names. */
int tern_chat_find(tern_chat_format *out, const char *name, tern_error *err);

/* The format that a model's file asks for: `stored` [bytes] is its template in Jinja
 * (tokenizer.chat_template of a GGUF file), NULL where it has none; `arch` is
 * general.architecture. The template is recognised by its markers; it is not interpreted.
 * The architectures bitnet-b1.58 and bitnet-25 with a token <|eot_id|> mean bitnet whatever the
 * template says, because the one in the published file of 2B4T is not what the model was trained
 * with; with 128256 tokens, as 2B4T has them, also without a template. */
tern_chat_format tern_chat_recognise(const char *stored, size_t bytes, const char *arch,
                                     const tern_tokenizer *tokenizer);

typedef struct tern_chat_message {
    const char *role;    /* "system", "user" or "assistant" */
    const char *content; /* [bytes], any bytes */
    size_t bytes;
} tern_chat_message;

/* The prompt for the next answer as text, which the caller frees: for people and for tests, since
 * control tokens can no longer be told from text in it. *bytes is its length; a zero follows.
 * TERN_E_USAGE when there is no message, for another role, and for the formats none and unknown. */
int tern_chat_text(char **out, size_t *bytes, tern_chat_format format,
                   const tern_chat_message *messages, size_t n_messages, tern_error *err);

/* The prompt for the next answer as ids [*n], which the caller frees; with the model's BOS where it
 * wants one. Errors as above, those of tern_tokenizer_encode(), and TERN_E_USAGE when the
 * vocabulary lacks a control token of the template (falcon3 writes its markers as text then). */
int tern_chat_encode(int32_t **ids, size_t *n, const tern_tokenizer *tokenizer,
                     tern_chat_format format, const tern_chat_message *messages, size_t n_messages,
                     tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
