/* cmd_eval_ppl.c - `tern eval ppl`: perplexity of a text, exp(-mean ln p) over the scored tokens.
 *
 * Two rules, whose numbers do not compare with each other nor with those of another tokenizer or
 * edition of the text:
 *   windows  as llama.cpp: consecutive windows, each scored behind its middle (eval.h)
 *   --stride as Hugging Face: windows begin every S tokens, one BOS before the text; each token is
 *            scored once, with at least window - S tokens before it where the text has them
 * Bits per byte count the bytes of the scored tokens and do compare between tokenizers. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "cli/eval.h"

typedef struct ppl_options {
    cli_model_options model;
    cli_eval_options eval;
    int stride, json;
} ppl_options;

static const cli_option options[] = {
    CLI_EVAL_OPTIONS(ppl_options, eval),
    {"stride", 0, CLI_INT, offsetof(ppl_options, stride), 1, 1 << 24, "N",
     "overlapping windows, N tokens from one to the next (default: llama.cpp's windows)"},
    {"json", 0, CLI_FLAG, offsetof(ppl_options, json), 0, 0, NULL, "a JSON object"},
    CLI_MODEL_OPTIONS(ppl_options, model),
};
static int eval_ppl(int argc, char **argv, tern_error *err);
const cli_command cli_eval_ppl = {
    "eval ppl", "perplexity of a text (-p, -f or standard input)", "",
    options,    (int)(sizeof options / sizeof options[0]),         eval_ppl};

/* What has been scored. */
typedef struct score {
    const cli_session *session;
    double *logprobs; /* [window] */
    cli_sum nll;      /* -ln p */
    uint64_t bytes;   /* of the scored tokens */
    int n_windows;
} score;

/* Scores the tokens first .. n-1 of a window, first at least 1. */
static int score_window(score *s, const int32_t *ids, int n, int first, tern_error *err)
{
    const int status = tern_engine_score(s->session->engine, s->logprobs, ids, n, err);
    if (status != TERN_OK) return status;
    for (int i = first; i < n; i++) {
        size_t bytes;
        if (tern_tokenizer_bytes(tern_model_tokenizer(s->session->model), ids[i], &bytes))
            s->bytes += bytes;
        cli_sum_add(&s->nll, -s->logprobs[i - 1]);
    }
    s->n_windows++;
    return TERN_OK;
}

static int score_windows(score *s, cli_eval_text *text, const tern_progress *progress,
                         tern_error *err)
{
    int status = TERN_OK;
    for (int w = 0; w < text->n_windows && status == TERN_OK; w++) {
        status =
            tern_progress_report(progress, "scoring", (uint64_t)w, (uint64_t)text->n_windows, err);
        if (status == TERN_OK)
            status =
                score_window(s, cli_eval_window(text, w), text->window, text->window / 2 + 1, err);
    }
    return status;
}

static int score_strided(score *s, const cli_eval_text *text, const ppl_options *o,
                         const tern_progress *progress, tern_error *err)
{
    int status = TERN_OK, scored = 1; /* tokens before this one are done; the first has no past */
    for (int begin = 0; scored < text->n && status == TERN_OK; begin += o->stride) {
        if (o->eval.n_windows && s->n_windows == o->eval.n_windows) break;
        const int left = text->n - begin, n = left < text->window ? left : text->window;
        status = tern_progress_report(progress, "scoring", (uint64_t)begin, (uint64_t)text->n, err);
        if (status == TERN_OK) status = score_window(s, text->ids + begin, n, scored - begin, err);
        scored = begin + n;
    }
    return status;
}

static int print_score(const score *s, const ppl_options *o, const cli_eval_text *text,
                       tern_error *err)
{
    const double nats = cli_sum_mean(&s->nll), ppl = exp(nats);
    const double error = ppl * cli_sum_error(&s->nll);
    const double bits = s->bytes ? s->nll.sum / log(2.0) / (double)s->bytes : 0.0;
    const tern_engine *engine = s->session->engine;
    const char *name = tern_model_config_of(s->session->model)->name;
    if (o->json)
        return cli_print_json(json_pack("{s:s, s:f, s:f, s:f, s:f, s:I, s:i, s:i, s:i, s:s, s:s}",
                                        "model", name, "perplexity", ppl, "error", error,
                                        "nats_per_token", nats, "bits_per_byte", bits, "tokens",
                                        (json_int_t)s->nll.n, "windows", s->n_windows, "window",
                                        text->window, "stride", o->stride, "kv",
                                        cli_kv_name(engine), "head", cli_head_name(engine)),
                              err);
    printf("perplexity %.4f +- %.4f, %.4f bits per byte\n", ppl, error, bits);
    printf("%llu tokens scored in %d windows of %d%s, KV %s, head %s\n",
           (unsigned long long)s->nll.n, s->n_windows, text->window,
           o->stride ? " that overlap" : " (second halves)", cli_kv_name(engine),
           cli_head_name(engine));
    return TERN_OK;
}

static int eval_session(const ppl_options *o, cli_eval_text *text, const cli_session *session,
                        tern_error *err)
{
    int status = cli_eval_cut(text, &o->eval, session, err);
    if (status != TERN_OK) return status;
    score s = {.session = session};
    if (o->stride >= text->window)
        status = tern_fail(err, TERN_E_USAGE,
                           "--stride is %d and the window %d: a stride is smaller than the window",
                           o->stride, text->window);
    if (status == TERN_OK)
        status = tern_alloc(&s.logprobs, (size_t)text->window, sizeof *s.logprobs, "a window", err);
    const tern_progress progress = cli_progress();
    cli_catch_interrupt();
    if (status == TERN_OK)
        status = o->stride ? score_strided(&s, text, o, &progress, err)
                           : score_windows(&s, text, &progress, err);
    cli_progress_end();
    if (status == TERN_OK) status = print_score(&s, o, text, err);
    free(s.logprobs);
    return status;
}

static int eval_ppl(int argc, char **argv, tern_error *err)
{
    ppl_options o = {0};
    int status = cli_parse(&o, &cli_eval_ppl, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    cli_eval_text text;
    cli_session session;
    status = cli_eval_read(&text, &o.eval, err);
    if (status != TERN_OK) return status;
    status = cli_open(&session, &o.model, err);
    if (status == TERN_OK) {
        status = eval_session(&o, &text, &session, err);
        cli_close(&session);
    }
    cli_eval_free(&text);
    return status;
}
