/* inspect_doctor.c - known ways in which BitNet files go wrong (FORMATS 8.1, 10.3, 13, 17), each
 * with the evidence. Thresholds stand beside what they follow from. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/inspect.h"

#define LARGE_TOKENS 32002 /* the vocabulary of 1bitLLM's models */

/* Absmean makes 31 % zeros of normally distributed weights; trained BitNet models have up to 60 %.
 * Other weights in a ternary type come out near 0 % (the sign alone was stored) or near 100 % (all
 * of them rounded beside one large value). */
#define FEW_ZEROS 0.10
#define MANY_ZEROS 0.85

/* scale * sqrt(inputs that count) is how much a matrix stretches its input: about 1 in Llama-like
 * models, up to 185 in 2B4T (scale 3, 6912 inputs); with 1/scale in scale's place 2000 and more in
 * the former. */
#define MAX_STRETCH 250.0

#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
static void
find(json_t *findings, const char *severity, const char *format, ...)
{
    char text[400];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    json_array_append_new(findings, json_pack("{s:s, s:s}", "severity", severity, "text", text));
}

static double share_of_zeros(const cli_codes *c)
{
    const double n = (double)c->counts[0] + (double)c->counts[1] + (double)c->counts[2];
    return n > 0.0 ? (double)c->counts[1] / n : 0.0;
}

static void check_rows(json_t *findings, const cli_codes *codes, size_t n)
{
    size_t tensors = 0, rows = 0;
    const cli_codes *first = NULL;
    for (size_t i = 0; i < n; i++) {
        if (codes[i].n_bad && !first) first = &codes[i];
        tensors += codes[i].n_bad > 0;
        rows += codes[i].n_bad;
    }
    if (first)
        find(
            findings, "problem",
            "%zu rows of %zu matrices are not ternary, first row %zu of %.*s: the file is damaged, "
            "or of another layout than its type says",
            rows, tensors, first->first_bad, (int)first->tensor->name.bytes,
            first->tensor->name.data);
}

static void check_zeros(json_t *findings, const cli_codes *codes, size_t n)
{
    size_t strange = 0;
    const cli_codes *first = NULL;
    for (size_t i = 0; i < n; i++) {
        const double zeros = share_of_zeros(&codes[i]);
        if (codes[i].n_bad || (zeros >= FEW_ZEROS && zeros <= MANY_ZEROS)) continue;
        if (!first) first = &codes[i];
        strange++;
    }
    if (first)
        find(
            findings, "warning",
            "%zu of %zu matrices have too few or too many zeros for trained ternary weights, first "
            "%.*s with %.1f %%: the weights were probably not ternary before they got this type",
            strange, n, (int)first->tensor->name.bytes, first->tensor->name.data,
            100.0 * share_of_zeros(first));
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static void check_scales(json_t *findings, const cli_codes *codes, size_t n)
{
    float *scales = calloc(n ? n : 1, sizeof *scales);
    if (!scales) return;
    size_t inverted = 0;
    for (size_t i = 0; i < n; i++) {
        const double inputs = (double)codes[i].tensor->ne[0] * (1.0 - share_of_zeros(&codes[i]));
        const double scale = (double)codes[i].scale;
        inverted += scale * scale * inputs > MAX_STRETCH * MAX_STRETCH;
        scales[i] = codes[i].scale;
    }
    qsort(scales, n, sizeof *scales, ascending);
    if (2 * inverted > n)
        find(findings, "warning",
             "the scales, %.4g in the middle, are far too large: the converter probably stored "
             "1/scale (weight_scale of linear_class bitlinear is a divisor)",
             (double)scales[n / 2]);
    free(scales);
}

static void check_head(json_t *findings, const tern_model *model)
{
    const tern_gguf_tensor *head = model->output, *table = model->token_embd;
    if (!head || !model->gguf || head->type != table->type || head->bytes != table->bytes) return;
    const uint8_t *data = model->gguf->file.data;
    if (memcmp(data + head->offset, data + table->offset, head->bytes) == 0)
        find(findings, "warning",
             "output.weight repeats token_embd.weight: %.1f MiB that a file without it, whose head "
             "is tied, does not need",
             (double)head->bytes / 1048576.0);
}

static int has_end(const tern_tokenizer *tokenizer)
{
    for (int32_t id = 0; id < tern_tokenizer_n_vocab(tokenizer); id++)
        if (tern_tokenizer_is_end(tokenizer, id)) return 1;
    return 0;
}

static void check_template(json_t *findings, const tern_model *model)
{
    tern_text stored = {0};
    if (tern_gguf_text(&stored, model->gguf, "tokenizer.chat_template", NULL) != TERN_OK) return;
    const tern_chat_format chat = tern_model_chat(model);
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    const tern_chat_format alone =
        tern_chat_recognise(stored.data, stored.bytes, "", tokenizer); /* without the rule */
    if (chat == TERN_CHAT_UNKNOWN)
        find(findings, "warning",
             "the chat template is none that Tern knows: tern chat asks for --chat-template");
    else if (chat == TERN_CHAT_BITNET && stored.data &&
             (alone != chat || memmem(stored.data, stored.bytes, "BITNET", 6)))
        find(findings, "note",
             "the chat template in the file is not the one that 2B4T was trained with: Tern writes "
             "bitnet's");
    else if (chat != TERN_CHAT_NONE) {
        const tern_chat_message probe = {"user", "x", 1};
        int32_t *ids = NULL;
        size_t n;
        tern_error err = {0};
        if (tern_chat_encode(&ids, &n, tokenizer, chat, &probe, 1, &err) != TERN_OK)
            find(findings, "warning", "%s", err.text);
        free(ids);
    }
    if (!has_end(tokenizer))
        find(findings, "warning", "no token ends an answer: every one runs to its limit");
}

/* FORMATS 8.1. */
static void check_activation(json_t *findings, const tern_model_config *c)
{
    static const char *const names[] = {"relu2", "silu", "gelu"};
    const int bitnet = strcmp(c->arch, "bitnet-b1.58") == 0 || strcmp(c->arch, "bitnet-25") == 0;
    const int silu = strcmp(c->arch, "bitnet") == 0 || strcmp(c->arch, "llama") == 0 ||
                     (bitnet && c->n_vocab == LARGE_TOKENS);
    if (!bitnet && !silu) return;
    const tern_act expected = silu ? TERN_ACT_SILU : TERN_ACT_RELU2;
    if (c->act != expected)
        find(findings, "warning",
             "the activation is %s, but models of architecture %s with %d tokens are trained with "
             "%s: a wrong one multiplies the perplexity by about 6",
             names[c->act], c->arch, c->n_vocab, names[expected]);
}

json_t *cli_doctor(const tern_model *model, const cli_codes *codes, size_t n)
{
    json_t *findings = json_array();
    check_rows(findings, codes, n);
    check_zeros(findings, codes, n);
    check_scales(findings, codes, n);
    check_head(findings, model);
    check_template(findings, model);
    check_activation(findings, tern_model_config_of(model));
    return findings;
}
