/* cmd_eval_kld.c - `tern eval kld`: how far the distributions of a model are from those of a base,
 * D(base || model) = sum of p_base (ln p_base - ln p), token by token over a text in the windows of
 * `eval ppl`. The base may be another file, or the same file with another KV or head type.
 * Equal models give exactly 0, because their logits are equal bit for bit. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "cli/eval.h"

typedef struct kld_options {
    cli_model_options model;
    cli_eval_options eval;
    const char *base;
    int base_kv, base_head, json;
} kld_options;

#define AT(member) offsetof(kld_options, member)
static const cli_option options[] = {
    {"base", 'b', CLI_TEXT, AT(base), 0, 0, "FILE", "the base model (default: the same model)"},
    {"base-kv", 0, CLI_CHOICE, AT(base_kv), 0, 0, "f16|i8", "KV cache of the base (default f16)"},
    {"base-head", 0, CLI_CHOICE, AT(base_head), 0, 0, "i16|i8", "head of the base (default i16)"},
    CLI_EVAL_OPTIONS(kld_options, eval),
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "a JSON object"},
    CLI_MODEL_OPTIONS(kld_options, model),
};
static int eval_kld(int argc, char **argv, tern_error *err);
const cli_command cli_eval_kld = {
    "eval kld",
    "how far a model's distributions are from a base's (-p, -f or standard input)",
    "",
    options,
    (int)(sizeof options / sizeof options[0]),
    eval_kld};

/* Both models' logits of a window and what came out of them so far. */
typedef struct comparison {
    const cli_session *model, *base;
    float *logits, *base_logits; /* [window, n_vocab] */
    double *klds;                /* [n_klds] of all windows */
    size_t n_klds;
    cli_sum kld, nll, base_nll, difference; /* the last: p - p_base of the text's token, squared */
    uint64_t n_same;                        /* the same likeliest token */
} comparison;

/* ln of the sum of exp(logit - most), and where the greatest logit is. */
static double log_sum(const float *logits, int n, int *most)
{
    *most = 0;
    for (int i = 1; i < n; i++)
        if (logits[i] > logits[*most]) *most = i;
    double sum = 0.0;
    for (int i = 0; i < n; i++) sum += exp((double)logits[i] - (double)logits[*most]);
    return log(sum);
}

/* One position: both distributions over n tokens, and the token that follows in the text. */
static void compare(comparison *c, const float *model, const float *base, int n, int32_t target)
{
    int most, base_most;
    const double sum = log_sum(model, n, &most), base_sum = log_sum(base, n, &base_most);
    const double top = (double)model[most] + sum, base_top = (double)base[base_most] + base_sum;
    double kld = 0.0;
    for (int i = 0; i < n; i++) {
        const double base_log = (double)base[i] - base_top;
        kld += exp(base_log) * (base_log - ((double)model[i] - top));
    }
    if (kld < 0.0) kld = 0.0; /* a rounding */
    const double log_p = (double)model[target] - top, base_log_p = (double)base[target] - base_top;
    const double change = exp(log_p) - exp(base_log_p);
    cli_sum_add(&c->kld, kld);
    cli_sum_add(&c->nll, -log_p);
    cli_sum_add(&c->base_nll, -base_log_p);
    cli_sum_add(&c->difference, change * change);
    c->klds[c->n_klds++] = kld;
    c->n_same += most == base_most;
}

static int compare_window(comparison *c, const int32_t *ids, int window, tern_error *err)
{
    const int n = tern_model_config_of(c->model->model)->n_vocab;
    int status = tern_engine_logits(c->model->engine, c->logits, ids, window, 0, err);
    if (status == TERN_OK)
        status = tern_engine_logits(c->base->engine, c->base_logits, ids, window, 0, err);
    for (int i = window / 2; i < window - 1 && status == TERN_OK; i++) {
        const size_t row = (size_t)i * (size_t)n;
        compare(c, c->logits + row, c->base_logits + row, n, ids[i + 1]);
    }
    return status;
}

static int alloc_comparison(comparison *c, const cli_eval_text *text, tern_error *err)
{
    const size_t n_vocab = (size_t)tern_model_config_of(c->model->model)->n_vocab;
    const size_t window = (size_t)text->window, row = n_vocab * sizeof(float);
    int status = tern_alloc(&c->logits, window, row, "the logits of a window", err);
    if (status == TERN_OK)
        status = tern_alloc(&c->base_logits, window, row, "the logits of a window", err);
    if (status == TERN_OK)
        status = tern_alloc(&c->klds, (size_t)text->n_windows * window, sizeof *c->klds,
                            "the divergences", err);
    return status;
}

static int ascending(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* The smallest of the sorted divergences that `share` of them do not exceed. */
static double quantile(const comparison *c, double share)
{
    const size_t at = (size_t)ceil(share * (double)c->n_klds);
    return c->klds[at ? at - 1 : 0];
}

static int print_comparison(comparison *c, int json, tern_error *err)
{
    qsort(c->klds, c->n_klds, sizeof *c->klds, ascending);
    const double mean = cli_sum_mean(&c->kld), error = cli_sum_error(&c->kld);
    const double same = (double)c->n_same / (double)c->n_klds;
    const double ppl = exp(cli_sum_mean(&c->nll)), base_ppl = exp(cli_sum_mean(&c->base_nll));
    const double change = sqrt(cli_sum_mean(&c->difference));
    if (json)
        return cli_print_json(
            json_pack("{s:s, s:s, s:I, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f, s:f}", "model",
                      tern_model_config_of(c->model->model)->name, "base",
                      tern_model_config_of(c->base->model)->name, "tokens", (json_int_t)c->n_klds,
                      "kld", mean, "kld_error", error, "kld_median", quantile(c, 0.5), "kld_99",
                      quantile(c, 0.99), "kld_max", quantile(c, 1.0), "same_top", same,
                      "rms_change_of_p", change, "perplexity", ppl, "base_perplexity", base_ppl),
            err);
    printf("KL divergence %.6g +- %.2g, median %.6g, 99 %% %.6g, largest %.6g\n", mean, error,
           quantile(c, 0.5), quantile(c, 0.99), quantile(c, 1.0));
    printf("same likeliest token %.2f %%, rms change of p %.3f %%\n", 100.0 * same, 100.0 * change);
    printf("perplexity %.4f, base %.4f, %zu tokens scored\n", ppl, base_ppl, c->n_klds);
    return TERN_OK;
}

/* A plan file brings types of its own, to the base too. */
static int check_base(const kld_options *o, const comparison *c, tern_error *err)
{
    const tern_workload *w = &tern_engine_plan(c->base->engine)->workload;
    if ((int)w->kv_type == o->base_kv && (int)w->head_type == o->base_head) return TERN_OK;
    return tern_fail(err, TERN_E_USAGE,
                     "the plan computes the base with KV %s and head %s: say so with --base-kv and "
                     "--base-head, or leave --plan out",
                     cli_kv_name(c->base->engine), cli_head_name(c->base->engine));
}

/* Both must read the text as the same tokens. */
static int check_tokens(const cli_eval_text *text, const kld_options *o, const comparison *c,
                        tern_error *err)
{
    const int n = tern_model_config_of(c->model->model)->n_vocab,
              n_base = tern_model_config_of(c->base->model)->n_vocab;
    if (n != n_base)
        return tern_fail(err, TERN_E_USAGE,
                         "the models have vocabularies of %d and %d tokens: compare models of one "
                         "vocabulary",
                         n, n_base);
    if (text->window > tern_engine_plan(c->base->engine)->workload.n_ctx)
        return tern_fail(err, TERN_E_USAGE,
                         "a window of %d tokens does not fit into the base's context of %d: use a "
                         "smaller --window",
                         text->window, tern_engine_plan(c->base->engine)->workload.n_ctx);
    if (!o->base) return TERN_OK;
    const tern_tokenizer *a = tern_model_tokenizer(c->model->model),
                         *b = tern_model_tokenizer(c->base->model);
    for (int32_t id = 0; id < n; id++) {
        size_t bytes_a = 0, bytes_b = 0;
        const char *text_a = tern_tokenizer_bytes(a, id, &bytes_a),
                   *text_b = tern_tokenizer_bytes(b, id, &bytes_b);
        if (bytes_a != bytes_b || !text_a != !text_b ||
            (text_a && memcmp(text_a, text_b, bytes_a) != 0))
            return tern_fail(err, TERN_E_USAGE,
                             "token %d is not the same in both models: compare models of one "
                             "vocabulary",
                             id);
    }
    return TERN_OK;
}

static int compare_sessions(const kld_options *o, cli_eval_text *text, comparison *c,
                            tern_error *err)
{
    int status = check_base(o, c, err);
    if (status == TERN_OK) status = cli_eval_cut(text, &o->eval, c->model, err);
    if (status == TERN_OK) status = check_tokens(text, o, c, err);
    if (status == TERN_OK) status = alloc_comparison(c, text, err);
    const tern_progress progress = cli_progress();
    cli_catch_interrupt();
    for (int w = 0; w < text->n_windows && status == TERN_OK; w++) {
        status = tern_progress_report(&progress, "comparing", (uint64_t)w,
                                      (uint64_t)text->n_windows, err);
        if (status == TERN_OK)
            status = compare_window(c, cli_eval_window(text, w), text->window, err);
    }
    cli_progress_end();
    if (status == TERN_OK) status = print_comparison(c, o->json, err);
    free(c->logits);
    free(c->base_logits);
    free(c->klds);
    return status;
}

static int eval_kld(int argc, char **argv, tern_error *err)
{
    kld_options o = {0};
    int status = cli_parse(&o, &cli_eval_kld, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    cli_model_options base_options = o.model;
    if (o.base) base_options.model = o.base;
    base_options.kv = o.base_kv;
    base_options.head = o.base_head;
    cli_eval_text text;
    cli_session model = {0}, base = {0};
    status = cli_eval_read(&text, &o.eval, err);
    if (status == TERN_OK) status = cli_open(&model, &o.model, err);
    if (status == TERN_OK) status = cli_open(&base, &base_options, err);
    if (status == TERN_OK) {
        comparison c = {.model = &model, .base = &base};
        status = compare_sessions(&o, &text, &c, err);
    }
    cli_close(&base);
    cli_close(&model);
    cli_eval_free(&text);
    return status;
}
