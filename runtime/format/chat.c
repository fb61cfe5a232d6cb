/* chat.c - writes messages as a template says. The prompt is one text cut into parts: markers, each
 * of which becomes its control token, and plain parts, which are encoded without special tokens.
 * Template text and content share a plain part, because a BPE merges across their border: "User: "
 * and "Hi" are the tokens "User", ":", " Hi". A content that spells a marker is cut inside it, so
 * that a vocabulary which holds it as user-defined token does not find it. */
#include "tern/chat.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/tokenizer_internal.h"

#define LLAMA3_TOKENS 128256 /* the vocabulary of 2B4T */

/* How a template writes a message; words like <|this|> are markers. */
typedef struct form {
    const char *name;
    const char *roles[3]; /* system, user, assistant */
    const char *before, *between, *after;
    bool strips;  /* white space around a content */
    bool lenient; /* markers may be missing from the vocabulary */
} form;

static const form forms[TERN_N_CHAT_FORMATS] = {
    [TERN_CHAT_NONE] = {.name = "none"},
    [TERN_CHAT_UNKNOWN] = {.name = "unknown"},
    [TERN_CHAT_BITNET] = {.name = "bitnet", .roles = {"System", "User", "Assistant"}, .before = "",
                          .between = ": ", .after = "<|eot_id|>", .strips = true},
    [TERN_CHAT_LLAMA3] = {.name = "llama3", .roles = {"system", "user", "assistant"},
                          .before = "<|start_header_id|>", .between = "<|end_header_id|>\n\n",
                          .after = "<|eot_id|>", .strips = true},
    [TERN_CHAT_FALCON3] = {.name = "falcon3",
                           .roles = {"<|system|>", "<|user|>", "<|assistant|>"}, .before = "",
                           .between = "\n", .after = "\n", .lenient = true},
    [TERN_CHAT_CHATML] = {.name = "chatml", .roles = {"system", "user", "assistant"},
                          .before = "<|im_start|>", .between = "\n", .after = "<|im_end|>\n"},
};

/* ---- the prompt, cut into parts ------------------------------------------------------------ */

typedef struct part {
    size_t end; /* in the text; a part begins where the one before ends */
    bool marker;
} part;

typedef struct prompt {
    char *text;
    size_t bytes, cap;
    part *parts;
    size_t n_parts, parts_cap;
    bool open; /* text may still be added to the last part */
    tern_error *err;
} prompt;

static int no_memory(const prompt *p)
{
    return tern_fail(p->err, TERN_E_FIT, "no memory for a prompt of %zu bytes: free some",
                     p->bytes);
}

/* Makes room for n more bytes and a zero. */
static int reserve_text(prompt *p, size_t n)
{
    size_t room;
    if (!tern_size_add(&room, p->bytes, n) || !tern_size_add(&room, room, 1)) return no_memory(p);
    if (room <= p->cap) return TERN_OK;
    if (!tern_size_mul(&room, room, 2)) return no_memory(p);
    char *grown = realloc(p->text, room);
    if (!grown) return no_memory(p);
    p->text = grown;
    p->cap = room;
    return TERN_OK;
}

static int begin_part(prompt *p, bool marker)
{
    if (p->n_parts == p->parts_cap) {
        const size_t cap = p->parts_cap ? 2 * p->parts_cap : 32;
        part *grown = realloc(p->parts, cap * sizeof *grown);
        if (!grown) return no_memory(p);
        p->parts = grown;
        p->parts_cap = cap;
    }
    p->parts[p->n_parts++] = (part){.end = p->bytes, .marker = marker};
    p->open = !marker;
    return TERN_OK;
}

static int put(prompt *p, const char *text, size_t n, bool marker)
{
    if (n == 0) return TERN_OK;
    int status = reserve_text(p, n);
    if (status == TERN_OK && (marker || !p->open)) status = begin_part(p, marker);
    if (status != TERN_OK) return status;
    memcpy(p->text + p->bytes, text, n);
    p->bytes += n;
    p->text[p->bytes] = 0;
    p->parts[p->n_parts - 1].end = p->bytes;
    return TERN_OK;
}

/* Length of the marker <|word|> at the beginning of text [n], 0 if there is none. */
static size_t marker_at(const char *text, size_t n)
{
    if (n < 5 || text[0] != '<' || text[1] != '|') return 0;
    size_t at = 2;
    while (at < n && (text[at] == '_' || (text[at] >= '0' && text[at] <= '9') ||
                      (text[at] >= 'a' && text[at] <= 'z') || (text[at] >= 'A' && text[at] <= 'Z')))
        at++;
    return at > 2 && at + 1 < n && text[at] == '|' && text[at + 1] == '>' ? at + 2 : 0;
}

/* Text of a template: its markers become parts of their own. */
static int put_words(prompt *p, const char *words)
{
    const size_t n = strlen(words);
    int status = TERN_OK;
    for (size_t at = 0, length; at < n && status == TERN_OK; at += length) {
        length = marker_at(words + at, n - at);
        const bool marker = length > 0;
        if (!marker) {
            length = 1;
            while (at + length < n && words[at + length] != '<') length++;
        }
        status = put(p, words + at, length, marker);
    }
    return status;
}

/* Text of a person: what looks like a marker is cut behind its first byte. */
static int put_content(prompt *p, const char *text, size_t n)
{
    size_t begin = 0;
    int status = TERN_OK;
    for (size_t at = 0; at < n && status == TERN_OK; at++) {
        if (!marker_at(text + at, n - at)) continue;
        status = put(p, text + begin, at + 1 - begin, false);
        begin = at + 1;
        p->open = false;
    }
    return status == TERN_OK ? put(p, text + begin, n - begin, false) : status;
}

/* ---- rendering ----------------------------------------------------------------------------- */

/* Characters that Jinja's trim, which is Python's strip, takes away. */
static const char *const blanks[] = {
    " ", "\t", "\n", "\v", "\f", "\r", "\x1c", "\x1d", "\x1e", "\x1f", "\xc2\x85", "\xc2\xa0",
    "\xe1\x9a\x80", "\xe2\x80\x80", "\xe2\x80\x81", "\xe2\x80\x82", "\xe2\x80\x83",
    "\xe2\x80\x84", "\xe2\x80\x85", "\xe2\x80\x86", "\xe2\x80\x87", "\xe2\x80\x88",
    "\xe2\x80\x89", "\xe2\x80\x8a", "\xe2\x80\xa8", "\xe2\x80\xa9", "\xe2\x80\xaf",
    "\xe2\x81\x9f", "\xe3\x80\x80"};

/* Bytes of the blank that text [n] begins with, or with `last` ends with; 0 for none. */
static size_t blank_at(const char *text, size_t n, bool last)
{
    for (size_t i = 0; i < sizeof blanks / sizeof *blanks; i++) {
        const size_t length = strlen(blanks[i]);
        if (length <= n && memcmp(last ? text + n - length : text, blanks[i], length) == 0)
            return length;
    }
    return 0;
}

static void strip(const char **text, size_t *n)
{
    for (size_t blank; (blank = blank_at(*text, *n, false)) > 0; *n -= blank) *text += blank;
    for (size_t blank; (blank = blank_at(*text, *n, true)) > 0;) *n -= blank;
}

static int put_head(prompt *p, const form *f, int role)
{
    int status = put_words(p, f->before);
    if (status == TERN_OK) status = put_words(p, f->roles[role]);
    return status == TERN_OK ? put_words(p, f->between) : status;
}

static int put_message(prompt *p, const form *f, const tern_chat_message *message, size_t number)
{
    static const char *const names[3] = {"system", "user", "assistant"};
    int role = 0;
    while (role < 3 && strcmp(message->role, names[role]) != 0) role++;
    if (role == 3)
        return tern_fail(p->err, TERN_E_USAGE,
                         "message %zu has the role '%s': use system, user or assistant", number,
                         TERN_QUOTED(message->role, strlen(message->role)));
    const char *content = message->bytes ? message->content : "";
    size_t bytes = message->bytes;
    if (f->strips) strip(&content, &bytes);
    int status = put_head(p, f, role);
    if (status == TERN_OK) status = put_content(p, content, bytes);
    return status == TERN_OK ? put_words(p, f->after) : status;
}

static int render(prompt *p, tern_chat_format format, const tern_chat_message *messages,
                  size_t n_messages)
{
    if (format == TERN_CHAT_NONE)
        return tern_fail(p->err, TERN_E_USAGE,
                         "this is a base model without a chat template: give it a text to continue,"
                         " or name a template");
    if (format == TERN_CHAT_UNKNOWN)
        return tern_fail(p->err, TERN_E_USAGE,
                         "the chat template in the model's file is not known here: name bitnet, "
                         "llama3, falcon3 or chatml");
    if (n_messages == 0)
        return tern_fail(p->err, TERN_E_USAGE, "a conversation of 0 messages: give one at least");
    const form *f = &forms[format];
    int status = TERN_OK;
    for (size_t i = 0; i < n_messages && status == TERN_OK; i++)
        status = put_message(p, f, &messages[i], i + 1);
    return status == TERN_OK ? put_head(p, f, 2) : status;
}

static void free_prompt(prompt *p)
{
    free(p->text);
    free(p->parts);
}

int tern_chat_text(char **out, size_t *bytes, tern_chat_format format,
                   const tern_chat_message *messages, size_t n_messages, tern_error *err)
{
    prompt p = {.err = err};
    const int status = render(&p, format, messages, n_messages);
    if (status == TERN_OK) {
        *out = p.text;
        *bytes = p.bytes;
        p.text = NULL;
    }
    free_prompt(&p);
    return status;
}

/* ---- ids ----------------------------------------------------------------------------------- */

/* Where the ids of the parts go. */
typedef struct id_list {
    int32_t *ids;
    size_t n, cap;
} id_list;

/* A marker that the vocabulary lacks is text and joins the plain parts around it. */
static void join_missing(prompt *p, const tern_tokenizer *tokenizer)
{
    size_t kept = 0, begin = 0;
    bool joins = false; /* the part before was such a marker */
    for (size_t i = 0; i < p->n_parts; i++) {
        part here = p->parts[i];
        const bool missing =
            here.marker && tern_tokenizer_find(tokenizer, p->text + begin, here.end - begin) < 0;
        if (missing) here.marker = false;
        begin = here.end;
        if (kept > 0 && !p->parts[kept - 1].marker && !here.marker && (missing || joins))
            p->parts[kept - 1].end = here.end;
        else
            p->parts[kept++] = here;
        joins = missing;
    }
    p->n_parts = kept;
}

static int encode_part(id_list *list, const tern_tokenizer *tokenizer, const form *f,
                       const char *text, size_t n, bool marker, tern_error *err)
{
    if (marker) {
        const int32_t id = tern_tokenizer_find(tokenizer, text, n);
        if (id < 0)
            return tern_fail(err, TERN_E_USAGE,
                             "the chat template %s needs the token '%.*s', which this model's "
                             "vocabulary lacks: name another template",
                             f->name, (int)n, text);
        list->ids[list->n++] = id;
        return TERN_OK;
    }
    size_t count;
    const int status = tern_tokenizer_encode(tokenizer, list->ids + list->n, list->cap - list->n,
                                             &count, text, n, 0, err);
    if (status == TERN_OK) list->n += count;
    return status;
}

static int encode_prompt(id_list *list, prompt *p, const tern_tokenizer *tokenizer, const form *f)
{
    if (f->lenient) join_missing(p, tokenizer);
    int status = tern_tokenizer_encode(tokenizer, list->ids, list->cap, &list->n, "", 0,
                                       TERN_ENCODE_BOS, p->err);
    size_t begin = 0;
    for (size_t i = 0; i < p->n_parts && status == TERN_OK; i++) {
        const part *here = &p->parts[i];
        status = encode_part(list, tokenizer, f, p->text + begin, here->end - begin, here->marker,
                             p->err);
        begin = here->end;
    }
    return status;
}

/* Every part takes the bound of its own bytes at most, so all of them that of the sum and one more
 * a part. */
int tern_chat_encode(int32_t **ids, size_t *n, const tern_tokenizer *tokenizer,
                     tern_chat_format format, const tern_chat_message *messages, size_t n_messages,
                     tern_error *err)
{
    prompt p = {.err = err};
    id_list list = {0};
    int status = render(&p, format, messages, n_messages);
    if (status == TERN_OK) {
        list.cap = tern_tokenizer_bound(tokenizer, p.bytes) +
                   p.n_parts * tern_tokenizer_bound(tokenizer, 0);
        status = tern_alloc(&list.ids, list.cap, sizeof *list.ids, "the ids of a prompt", err);
    }
    if (status == TERN_OK) status = encode_prompt(&list, &p, tokenizer, &forms[format]);
    if (status == TERN_OK) {
        *ids = list.ids;
        *n = list.n;
        list.ids = NULL;
    }
    free(list.ids);
    free_prompt(&p);
    return status;
}

/* ---- names --------------------------------------------------------------------------------- */

const char *tern_chat_name(tern_chat_format format)
{
    return forms[format].name;
}

int tern_chat_find(tern_chat_format *out, const char *name, tern_error *err)
{
    for (int i = 0; i < TERN_N_CHAT_FORMATS; i++)
        if (i != TERN_CHAT_UNKNOWN && strcmp(name, forms[i].name) == 0) {
            *out = (tern_chat_format)i;
            return TERN_OK;
        }
    return tern_fail(err, TERN_E_USAGE,
                     "'%s' is no chat template: use none, bitnet, llama3, falcon3 or chatml",
                     TERN_QUOTED(name, strlen(name)));
}

static bool holds(const char *text, size_t bytes, const char *part_of)
{
    return memmem(text, bytes, part_of, strlen(part_of)) != NULL;
}

tern_chat_format tern_chat_recognise(const char *stored, size_t bytes, const char *arch,
                                     const tern_tokenizer *tokenizer)
{
    const bool bitnet = strcmp(arch, "bitnet-b1.58") == 0 || strcmp(arch, "bitnet-25") == 0;
    const bool has_template = stored && bytes > 0;
    if (bitnet && tern_tokenizer_find(tokenizer, "<|eot_id|>", 10) >= 0 &&
        (has_template || tern_tokenizer_n_vocab(tokenizer) == LLAMA3_TOKENS))
        return TERN_CHAT_BITNET;
    if (!has_template) return TERN_CHAT_NONE;
    if (holds(stored, bytes, "<|im_start|>")) return TERN_CHAT_CHATML;
    if (holds(stored, bytes, "<|start_header_id|>")) return TERN_CHAT_LLAMA3;
    if (holds(stored, bytes, "<|assistant|>") && !holds(stored, bytes, "<|end|>") &&
        !holds(stored, bytes, "</s>"))
        return TERN_CHAT_FALCON3;
    if (holds(stored, bytes, "<|eot_id|>") &&
        (holds(stored, bytes, "capitalize") || holds(stored, bytes, "Assistant: ")))
        return TERN_CHAT_BITNET;
    return TERN_CHAT_UNKNOWN;
}
