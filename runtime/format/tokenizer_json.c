/* tokenizer_json.c - see tokenizer_json.h. Tokens come as an object of text -> id, with added
 * tokens in a list of their own; they are put in order of their ids, and the gaps are filled. */
#include "format/tokenizer_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/tokenizer_internal.h"

#define KEY(name) "tokenizer.ggml." name
#define MAX_TOKENS (1 << 24)
#define MAX_GAPS (1 << 16) /* ids that no token has */

#define LLAMA3_HEAD "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define LLAMA3_TAIL "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"

/* One token by id. */
typedef struct token {
    const char *text; /* NULL: a gap; lives as long as the JSON */
    size_t bytes;
    uint8_t type;
    float score;
} token;

typedef struct reader {
    tern_gguf_writer *w;
    const json_t *json, *model;
    const tern_tokenizer_extra *extra;
    const char *name;
    tern_error *err;
    bool pieces; /* SentencePiece */
    token *tokens;
    int32_t n, n_tokens; /* ids below n, tokens among them */
} reader;

static int bad(const reader *r, const char *what)
{
    return tern_fail(r->err, TERN_E_MODEL, "'%.140s': %s: get files made for this model", r->name,
                     what);
}

static bool is_text(const json_t *member, const char *text)
{
    const char *value = json_string_value(member);
    return value && strcmp(value, text) == 0;
}

/* ---- kinds ----------------------------------------------------------------------------------- */

/* Calls for a member of type "Sequence" its parts, otherwise itself, until one is of `type`. */
static const json_t *find_part(const json_t *part, const char *list, const char *type)
{
    if (is_text(json_object_get(part, "type"), type)) return part;
    size_t i;
    const json_t *inner;
    json_array_foreach(json_object_get(part, list), i, inner)
    {
        if (is_text(json_object_get(inner, "type"), type)) return inner;
    }
    return NULL;
}

static const json_t *pre_tokenizer(const reader *r, const char *type)
{
    return find_part(json_object_get(r->json, "pre_tokenizer"), "pretokenizers", type);
}

static const json_t *normalizer(const reader *r, const char *type)
{
    return find_part(json_object_get(r->json, "normalizer"), "normalizers", type);
}

/* Byte-level text may be composed (NFC), SentencePiece's only escape its spaces. */
static bool knows_normalizer(const reader *r, const json_t *part)
{
    const json_t *type = json_object_get(part, "type");
    if (!r->pieces) return is_text(type, "NFC");
    const json_t *pattern = json_object_get(json_object_get(part, "pattern"), "String");
    return is_text(type, "Prepend") || (is_text(type, "Replace") && is_text(pattern, " "));
}

static int check_normalizer(const reader *r)
{
    const json_t *whole = json_object_get(r->json, "normalizer"), *part;
    const json_t *list = json_object_get(whole, "normalizers");
    size_t i;
    if (!whole || json_is_null(whole) || (!list && knows_normalizer(r, whole))) return TERN_OK;
    json_array_foreach(list, i, part)
    {
        if (!knows_normalizer(r, part)) break;
    }
    if (json_is_array(list) && i == json_array_size(list)) return TERN_OK;
    return bad(r, "the tokenizer changes texts by a normalizer other than NFC (or, with"
                  " SentencePiece, other than spaces to U+2581)");
}

static int read_kind(reader *r)
{
    r->model = json_object_get(r->json, "model");
    if (!is_text(json_object_get(r->model, "type"), "BPE") && tern_json_member(r->model, "type"))
        return bad(r, "the tokenizer's model is not of type BPE");
    r->pieces = json_is_true(json_object_get(r->model, "byte_fallback"));
    const json_t *bytes = pre_tokenizer(r, "ByteLevel");
    if (!bytes && !r->pieces)
        return bad(r, "the tokenizer is neither byte-level nor SentencePiece's");
    if (bytes && json_is_true(json_object_get(bytes, "add_prefix_space")))
        return bad(r, "byte-level tokenizers that put a space in front are not supported");
    return check_normalizer(r);
}

/* ---- tokens ---------------------------------------------------------------------------------- */

static int put_token(reader *r, int64_t id, const json_t *text, uint8_t type)
{
    if (id < 0 || id >= r->n || !json_is_string(text))
        return bad(r, "a token has no text or an id beyond the vocabulary");
    token *t = &r->tokens[id];
    if (!t->text) r->n_tokens++;
    *t = (token){json_string_value(text), json_string_length(text), type, 0.0f};
    return TERN_OK;
}

static bool is_byte_token(const char *text)
{
    return strlen(text) == 6 && strncmp(text, "<0x", 3) == 0 && text[5] == '>';
}

static int add_vocabulary(reader *r, json_t *vocabulary)
{
    const char *unknown = json_string_value(json_object_get(r->model, "unk_token"));
    const char *text;
    json_t *id;
    json_object_foreach(vocabulary, text, id)
    {
        const json_int_t number = json_integer_value(id);
        if (!json_is_integer(id) || number < 0 || number >= r->n)
            return bad(r, "the id of a token is no number inside the vocabulary");
        token *t = &r->tokens[number];
        if (t->text) return bad(r, "two tokens have the same id");
        const bool byte = r->pieces && is_byte_token(text);
        const uint8_t type = byte ? TERN_TOKEN_BYTE : TERN_TOKEN_NORMAL;
        *t = (token){text, strlen(text), type, 0.0f};
        if (unknown && r->pieces && strcmp(unknown, text) == 0) t->type = TERN_TOKEN_UNKNOWN;
        r->n_tokens++;
    }
    return TERN_OK;
}

static int add_added(reader *r, const json_t *added)
{
    size_t i;
    const json_t *one;
    json_array_foreach(added, i, one)
    {
        const json_t *id = json_object_get(one, "id");
        const bool special = json_is_true(json_object_get(one, "special"));
        const int64_t number = json_is_integer(id) ? (int64_t)json_integer_value(id) : -1;
        const bool unknown =
            number >= 0 && number < r->n && r->tokens[number].type == TERN_TOKEN_UNKNOWN;
        const int status = put_token(r, number, json_object_get(one, "content"),
                                     unknown   ? TERN_TOKEN_UNKNOWN
                                     : special ? TERN_TOKEN_CONTROL
                                               : TERN_TOKEN_USER);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

/* The highest id + 1. */
static int64_t count_ids(json_t *vocabulary, const json_t *added)
{
    int64_t n = 0;
    const char *text;
    json_t *id;
    json_object_foreach(vocabulary, text, id)
    {
        if (json_integer_value(id) >= n && json_integer_value(id) < INT64_MAX)
            n = json_integer_value(id) + 1;
    }
    size_t i;
    const json_t *one;
    json_array_foreach(added, i, one)
    {
        const json_int_t value = json_integer_value(json_object_get(one, "id"));
        if (value >= n && value < INT64_MAX) n = value + 1;
    }
    return n;
}

static int read_tokens(reader *r)
{
    json_t *vocabulary = json_object_get(r->model, "vocab");
    const json_t *added = json_object_get(r->json, "added_tokens");
    const size_t known = json_object_size(vocabulary) + json_array_size(added);
    int64_t n = count_ids(vocabulary, added);
    if (n == 0 || n > MAX_TOKENS || (uint64_t)n > known + MAX_GAPS)
        return bad(r, "the ids of the tokens leave gaps, or there are none");
    if (r->extra->n_vocab && r->extra->n_vocab < n)
        return tern_fail(
            r->err, TERN_E_MODEL,
            "'%.140s' has %lld tokens, but the model %d: get files made for this model", r->name,
            (long long)n, r->extra->n_vocab);
    if (r->extra->n_vocab) n = r->extra->n_vocab;
    int status = tern_alloc(&r->tokens, (size_t)n, sizeof *r->tokens, "the vocabulary", r->err);
    if (status != TERN_OK) return status;
    r->n = (int32_t)n;
    status = add_vocabulary(r, vocabulary);
    return status == TERN_OK ? add_added(r, added) : status;
}

static void write_tokens(const reader *r)
{
    tern_gguf_put_array(r->w, KEY("tokens"), TERN_GGUF_STRING, (uint64_t)r->n);
    for (int32_t i = 0; i < r->n; i++) {
        char gap[24];
        snprintf(gap, sizeof gap, "[PAD%d]", i);
        const token *t = &r->tokens[i];
        tern_gguf_add_text(r->w, t->text ? t->text : gap, t->text ? t->bytes : strlen(gap));
    }
    tern_gguf_put_array(r->w, KEY("token_type"), TERN_GGUF_I32, (uint64_t)r->n);
    for (int32_t i = 0; i < r->n; i++) {
        const int32_t type = r->tokens[i].text ? r->tokens[i].type : TERN_TOKEN_UNUSED;
        tern_gguf_add_bytes(r->w, &type, sizeof type);
    }
}

/* ---- merges and scores ----------------------------------------------------------------------- */

/* The two halves of a merge: "left right", or a list of two. False for anything else. */
static bool halves_of(const char **left, size_t *n_left, const char **right, size_t *n_right,
                      const json_t *merge)
{
    if (json_is_array(merge) && json_array_size(merge) == 2) {
        const json_t *a = json_array_get(merge, 0), *b = json_array_get(merge, 1);
        *left = json_string_value(a);
        *right = json_string_value(b);
        *n_left = json_string_length(a);
        *n_right = json_string_length(b);
        return *left && *right;
    }
    *left = json_string_value(merge);
    const size_t n = json_string_length(merge);
    const char *space = *left && n > 2 ? memchr(*left + 1, ' ', n - 2) : NULL;
    if (!space) return false;
    *n_left = (size_t)(space - *left);
    *right = space + 1;
    *n_right = n - *n_left - 1;
    return true;
}

static int write_merges(const reader *r, const json_t *merges)
{
    tern_gguf_put_array(r->w, KEY("merges"), TERN_GGUF_STRING, json_array_size(merges));
    size_t i;
    const json_t *merge;
    json_array_foreach(merges, i, merge)
    {
        const char *left, *right;
        size_t n_left, n_right;
        if (!halves_of(&left, &n_left, &right, &n_right, merge))
            return bad(r, "a merge is no pair of texts");
        const uint64_t n = n_left + 1 + n_right;
        tern_gguf_add_bytes(r->w, &n, sizeof n);
        tern_gguf_add_bytes(r->w, left, n_left);
        tern_gguf_add_bytes(r->w, " ", 1);
        tern_gguf_add_bytes(r->w, right, n_right);
    }
    return TERN_OK;
}

/* SentencePiece's merges stand for scores: the first merge that makes a token counts. */
static int write_scores(const reader *r, const json_t *merges)
{
    const json_t *vocabulary = json_object_get(r->model, "vocab");
    const float none = -(float)json_array_size(merges) - 1.0f;
    char *joint = NULL;
    size_t cap = 0, i;
    const json_t *merge;
    for (int32_t t = 0; t < r->n; t++)
        if (r->tokens[t].type == TERN_TOKEN_NORMAL) r->tokens[t].score = none;
    int status = TERN_OK;
    json_array_foreach(merges, i, merge)
    {
        const char *left, *right;
        size_t n_left, n_right;
        if (!halves_of(&left, &n_left, &right, &n_right, merge)) {
            status = bad(r, "a merge is no pair of texts");
            break;
        }
        if (n_left + n_right > cap) {
            cap = 2 * (n_left + n_right);
            free(joint);
            status = tern_alloc(&joint, cap, 1, "a merge", r->err);
            if (status != TERN_OK) break;
        }
        memcpy(joint, left, n_left);
        memcpy(joint + n_left, right, n_right);
        const json_t *id = json_object_getn(vocabulary, joint, n_left + n_right);
        const json_int_t number = id ? json_integer_value(id) : -1;
        if (number < 0 || number >= r->n) {
            status = bad(r, "a merge makes no token");
            break;
        }
        if (r->tokens[number].score == none) r->tokens[number].score = -(float)i;
    }
    free(joint);
    tern_gguf_put_array(r->w, KEY("scores"), TERN_GGUF_F32, (uint64_t)r->n);
    for (int32_t t = 0; t < r->n; t++)
        tern_gguf_add_bytes(r->w, &r->tokens[t].score, sizeof(float));
    return status;
}

/* ---- pre-tokenizer, ids, flags --------------------------------------------------------------- */

/* The name of the pattern, or the pattern itself where it has none. */
static const char *pre_name(const reader *r)
{
    static const struct {
        const char *pattern, *name;
    } known[] = {{LLAMA3_HEAD "\\p{N}{1,3}" LLAMA3_TAIL, "llama-bpe"},
                 {LLAMA3_HEAD "\\p{N}" LLAMA3_TAIL, "qwen2"},
                 {"[0-9][0-9][0-9]", "falcon"},
                 {"[0-9]", "falcon_e"}};
    const json_t *split = pre_tokenizer(r, "Split");
    const json_t *punctuation = pre_tokenizer(r, "Punctuation");
    const char *pattern =
        json_string_value(json_object_get(json_object_get(split, "pattern"), "Regex"));
    if (!split) {
        const json_t *digits = pre_tokenizer(r, "Digits");
        return punctuation || digits ? "an unknown sequence of rules" : "gpt-2";
    }
    for (size_t i = 0; pattern && i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].pattern, pattern) == 0 && (i >= 2) == (punctuation != NULL))
            return known[i].name;
    return pattern ? pattern : "an unknown rule";
}

/* Whether single texts begin with BOS: the template of the post-processor names it first. */
static bool template_adds_bos(const reader *r)
{
    const json_t *post =
        find_part(json_object_get(r->json, "post_processor"), "processors", "TemplateProcessing");
    const json_t *first = json_array_get(json_object_get(post, "single"), 0);
    const char *id =
        json_string_value(json_object_get(json_object_get(first, "SpecialToken"), "id"));
    return id && r->extra->bos >= 0 && r->extra->bos < r->n && r->tokens[r->extra->bos].text &&
           strcmp(id, r->tokens[r->extra->bos].text) == 0;
}

static bool adds_space_prefix(const reader *r)
{
    const json_t *metaspace = pre_tokenizer(r, "Metaspace");
    if (!metaspace) return normalizer(r, "Prepend") != NULL;
    return !is_text(json_object_get(metaspace, "prepend_scheme"), "never") &&
           !json_is_false(json_object_get(metaspace, "add_prefix_space"));
}

/* The file of its own, or a text of tokenizer_config.json, or the one that a list there calls
 * "default"; data NULL where there is none. */
static tern_text chat_template(const tern_tokenizer_extra *extra)
{
    if (extra->chat.data) return extra->chat;
    const json_t *text = json_object_get(extra->config, "chat_template"), *entry;
    size_t i;
    json_array_foreach(text, i, entry)
    {
        if (is_text(json_object_get(entry, "name"), "default")) {
            text = json_object_get(entry, "template");
            break;
        }
    }
    return (tern_text){.data = json_string_value(text), .bytes = json_string_length(text)};
}

int tern_tokenizer_extra_keys(tern_gguf_writer *w, const tern_tokenizer_extra *extra, bool add_bos,
                              const char *name, tern_error *err)
{
    static const char *const ends[] = {KEY("eos_token_id"), KEY("eot_token_id"),
                                       KEY("eom_token_id")};
    bool add_eos = false;
    int status = tern_json_bool(&add_bos, extra->config, "add_bos_token", add_bos, name, err);
    if (status == TERN_OK)
        status = tern_json_bool(&add_eos, extra->config, "add_eos_token", false, name, err);
    if (status != TERN_OK) return status;
    if (extra->bos >= 0) tern_gguf_put_u32(w, KEY("bos_token_id"), (uint32_t)extra->bos);
    for (int i = 0; i < 3; i++)
        if (extra->ends[i] >= 0) tern_gguf_put_u32(w, ends[i], (uint32_t)extra->ends[i]);
    tern_gguf_put_bool(w, KEY("add_bos_token"), add_bos && extra->bos >= 0);
    if (add_eos) tern_gguf_put_bool(w, KEY("add_eos_token"), extra->ends[0] >= 0);
    const tern_text chat = chat_template(extra);
    if (chat.data) tern_gguf_put_text(w, "tokenizer.chat_template", chat.data, chat.bytes);
    return TERN_OK;
}

static int write_flags(const reader *r)
{
    const char *unknown = json_string_value(json_object_get(r->model, "unk_token"));
    for (int32_t t = 0; unknown && t < r->n; t++)
        if (r->tokens[t].type == TERN_TOKEN_UNKNOWN)
            tern_gguf_put_u32(r->w, KEY("unknown_token_id"), (uint32_t)t);
    if (r->pieces) tern_gguf_put_bool(r->w, KEY("add_space_prefix"), adds_space_prefix(r));
    if (normalizer(r, "NFC")) tern_gguf_put_bool(r->w, TERN_KEY_COMPOSE, true);
    return tern_tokenizer_extra_keys(r->w, r->extra, template_adds_bos(r), r->name, r->err);
}

int tern_tokenizer_json_keys(tern_gguf_writer *w, const json_t *tokenizer,
                             const tern_tokenizer_extra *extra, const char *name, tern_error *err)
{
    reader r = {.w = w, .json = tokenizer, .extra = extra, .name = name, .err = err};
    int status = read_kind(&r);
    if (status == TERN_OK) status = read_tokens(&r);
    if (status == TERN_OK) {
        const char *kind = r.pieces ? "llama" : "gpt2", *pre = r.pieces ? "default" : pre_name(&r);
        const json_t *merges = json_object_get(r.model, "merges");
        tern_gguf_put_text(w, KEY("model"), kind, strlen(kind));
        tern_gguf_put_text(w, KEY("pre"), pre, strlen(pre));
        write_tokens(&r);
        status = r.pieces ? write_scores(&r, merges) : write_merges(&r, merges);
    }
    if (status == TERN_OK) status = write_flags(&r);
    free(r.tokens);
    return status;
}
