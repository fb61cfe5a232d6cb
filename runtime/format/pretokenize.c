/* pretokenize.c - the pre-tokenizer patterns, through PCRE2. Called by tokenizer.c for every
 * stretch of valid UTF-8.
 *
 * Two places where regex engines disagree, decided as the tokenizers of the models do (Rust's
 * regex):
 *   - White space is written out as the 25 characters of Unicode's White_Space. PCRE2's own \s also
 *     holds U+180E, which left that set in Unicode 6.3.
 *   - (?i:'s) folds by simple Unicode case folding, so it takes U+017F (long s) too; PCRE2 with UCP
 * and UTF does the same. llama.cpp's hand-written matcher does not. */
#define PCRE2_CODE_UNIT_WIDTH 8
#include "format/pretokenize.h"

#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define MAX_PASSES 4

/* The members of a class; W and the rest are glued together by the compiler. */
#define W \
    "\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}" \
    "\\x{205f}\\x{3000}"

#define GPT2 \
    "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^" W "\\p{L}\\p{N}]+|[" W "]+(?![^" W "])"

/* The pattern of Llama 3, in which only the run of digits differs between models. */
#define LLAMA3(digits) \
    "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|" digits "| ?[^" W \
    "\\p{L}\\p{N}]+[\\r\\n]*" \
    "|[" W "]*[\\r\\n]+|[" W "]+(?![^" W "])|[" W "]+"

/* Each pass cuts every fragment of the one before; what lies between matches is a fragment too. */
typedef struct pre {
    tern_pre_info info;
    const char *passes[MAX_PASSES];
} pre;

static const pre table[] = {
    {{"llama-bpe", true, true}, {LLAMA3("\\p{N}{1,3}")}},
    {{"qwen2", false, false}, {LLAMA3("\\p{N}")}},
    {{"gpt-2", false, false}, {GPT2}},
    {{"default", false, false}, {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
    {{"falcon", false, false}, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9][0-9][0-9]"}},
    {{"falcon_e", false, false}, {"[\\p{P}\\$\\+<=>\\^~\\|`]+", GPT2, "[0-9]"}},
};

static const struct {
    const char *name, *target;
} aliases[] = {{"llama3", "llama-bpe"},
               {"llama-v3", "llama-bpe"},
               {"pixtral", "llama-bpe"},
               {"falcon3", "llama-bpe"}, /* as upstream; bitnet.cpp's fork: falcon_e */
               {"gpt2", "gpt-2"}};

struct tern_cutter {
    const pre *pre;
    int n_passes;
    pcre2_code *passes[MAX_PASSES];
    pcre2_match_context *limits;
};

/* One call of tern_cutter_run. */
typedef struct run {
    const tern_cutter *cutter;
    pcre2_match_data *match;
    tern_piece_fn *fn;
    void *user;
    tern_error *err;
} run;

const char *tern_pre_names(void)
{
    return "llama-bpe (or llama3, llama-v3, pixtral, falcon3), qwen2, gpt-2, default, falcon, "
           "falcon_e";
}

static bool same(const char *name, const char *s, size_t bytes)
{
    return strlen(name) == bytes && memcmp(name, s, bytes) == 0;
}

static const pre *find(const char *name, size_t bytes)
{
    for (size_t i = 0; i < sizeof aliases / sizeof *aliases; i++)
        if (same(aliases[i].name, name, bytes)) {
            name = aliases[i].target;
            bytes = strlen(name);
        }
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (same(table[i].info.name, name, bytes)) return &table[i];
    return NULL;
}

static int compile(pcre2_code **out, const char *pattern, bool jit, tern_error *err)
{
    int code = 0;
    PCRE2_SIZE at = 0;
    *out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED, PCRE2_UTF | PCRE2_UCP, &code,
                         &at, NULL);
    if (!*out)
        return tern_fail(err, TERN_E_MODEL,
                         "PCRE2 refuses a pre-tokenizer pattern at character %zu"
                         " (error %d): install PCRE2 with Unicode support",
                         (size_t)at, code);
    if (jit) pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE); /* refused: it is interpreted instead */
    return TERN_OK;
}

int tern_cutter_create(tern_cutter **out, bool *known, const char *name, size_t name_bytes,
                       bool jit, tern_error *err)
{
    const pre *chosen = find(name, name_bytes);
    *known = chosen != NULL;
    if (!chosen) return TERN_OK;
    tern_cutter *cutter;
    int status = tern_alloc(&cutter, 1, sizeof *cutter, "a pre-tokenizer", err);
    if (status != TERN_OK) return status;
    cutter->pre = chosen;
    cutter->limits = pcre2_match_context_create(NULL);
    if (!cutter->limits)
        status = tern_fail(err, TERN_E_FIT, "no memory for a pre-tokenizer: free some");
    /* PCRE2 counts steps against runaway patterns; these ones are linear and texts may be long. */
    if (status == TERN_OK) pcre2_set_match_limit(cutter->limits, UINT32_MAX);
    for (int i = 0; i < MAX_PASSES && chosen->passes[i] && status == TERN_OK; i++) {
        status = compile(&cutter->passes[i], chosen->passes[i], jit, err);
        cutter->n_passes = i + 1;
    }
    if (status == TERN_OK)
        *out = cutter;
    else
        tern_cutter_destroy(cutter);
    return status;
}

void tern_cutter_destroy(tern_cutter *cutter)
{
    if (!cutter) return;
    for (int i = 0; i < cutter->n_passes; i++) pcre2_code_free(cutter->passes[i]);
    pcre2_match_context_free(cutter->limits);
    free(cutter);
}

const tern_pre_info *tern_cutter_info(const tern_cutter *cutter)
{
    return &cutter->pre->info;
}

/* The next match of a pass; PCRE2's result code. */
static int match(const run *r, int pass, const char *text, size_t bytes, size_t from)
{
    const pcre2_code *code = r->cutter->passes[pass];
    int rc = pcre2_match(code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK, r->match,
                         r->cutter->limits);
    if (rc == PCRE2_ERROR_JIT_STACKLIMIT) /* the interpreter takes its memory from the heap */
        rc = pcre2_match(code, (PCRE2_SPTR)text, bytes, from, PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT,
                         r->match, r->cutter->limits);
    return rc;
}

/* Recursion over the passes, four at most. */
static int cut(const run *r, int pass, const char *text, size_t bytes)
{
    if (bytes == 0) return TERN_OK;
    if (pass == r->cutter->n_passes) return r->fn(r->user, text, bytes, r->err);
    size_t done = 0;
    while (done < bytes) {
        const int rc = match(r, pass, text, bytes, done);
        if (rc == PCRE2_ERROR_NOMATCH) break;
        if (rc < 0)
            return tern_fail(r->err, TERN_E_FIT,
                             "PCRE2 gave up on a text of %zu bytes (error %d): give it in"
                             " smaller parts",
                             bytes, rc);
        const PCRE2_SIZE *span = pcre2_get_ovector_pointer(r->match);
        const size_t begin = span[0], end = span[1];
        int status = cut(r, pass + 1, text + done, begin - done);
        if (status == TERN_OK) status = cut(r, pass + 1, text + begin, end - begin);
        if (status != TERN_OK) return status;
        done = end; /* no pattern matches nothing, so this moves on */
    }
    return cut(r, pass + 1, text + done, bytes - done);
}

int tern_cutter_run(const tern_cutter *cutter, const char *text, size_t bytes, tern_piece_fn *fn,
                    void *user, tern_error *err)
{
    if (bytes == 0) return TERN_OK;
    run r = {.cutter = cutter,
             .match = pcre2_match_data_create(1, NULL),
             .fn = fn,
             .user = user,
             .err = err};
    if (!r.match) return tern_fail(err, TERN_E_FIT, "no memory to match a pattern: free some");
    const int status = cut(&r, 0, text, bytes);
    pcre2_match_data_free(r.match);
    return status;
}
