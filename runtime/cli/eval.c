/* eval.c - texts, windows and sums for the evaluations. */
#include "cli/eval.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"

#define WINDOW_TOK 512 /* llama.cpp's default */

int cli_eval_read(cli_eval_text *out, const cli_eval_options *o, tern_error *err)
{
    *out = (cli_eval_text){.window = o->window, .bos = -1};
    return cli_read_text(&out->text, &out->bytes, o->text, o->file, err);
}

int cli_eval_cut(cli_eval_text *t, const cli_eval_options *o, const cli_session *s, tern_error *err)
{
    const int n_ctx = tern_engine_plan(s->engine)->workload.n_ctx;
    const tern_tokenizer *tokenizer = tern_model_tokenizer(s->model);
    if (t->window == 0) t->window = n_ctx < WINDOW_TOK ? n_ctx : WINDOW_TOK;
    if (t->window > n_ctx)
        return tern_fail(err, TERN_E_USAGE,
                         "a window of %d tokens does not fit into the context of %d: use a smaller "
                         "--window or a larger --ctx",
                         t->window, n_ctx);
    const int status =
        cli_encode(&t->ids, &t->n, tokenizer, t->text, t->bytes, TERN_ENCODE_BOS, err);
    if (status != TERN_OK) return status;
    size_t n_bos;
    if (tern_tokenizer_encode(tokenizer, &t->bos, 1, &n_bos, "", 0, TERN_ENCODE_BOS, NULL) ||
        n_bos == 0)
        t->bos = -1;
    t->n_windows = t->n / t->window;
    if (o->n_windows && o->n_windows < t->n_windows) t->n_windows = o->n_windows;
    if (t->n_windows == 0)
        return tern_fail(err, TERN_E_USAGE,
                         "the text has %d tokens, fewer than a window of %d: give more text, or "
                         "use a smaller --window",
                         t->n, t->window);
    return TERN_OK;
}

int32_t *cli_eval_window(cli_eval_text *text, int w)
{
    int32_t *ids = text->ids + (size_t)w * (size_t)text->window;
    if (text->bos >= 0) ids[0] = text->bos;
    return ids;
}

void cli_eval_free(cli_eval_text *text)
{
    free(text->text);
    free(text->ids);
}

void cli_sum_add(cli_sum *sum, double sample)
{
    sum->sum += sample;
    sum->squares += sample * sample;
    sum->n++;
}

double cli_sum_mean(const cli_sum *sum)
{
    return sum->n ? sum->sum / (double)sum->n : 0.0;
}

double cli_sum_error(const cli_sum *sum)
{
    if (sum->n < 2) return 0.0;
    const double mean = cli_sum_mean(sum);
    const double variance = sum->squares / (double)sum->n - mean * mean;
    return variance > 0.0 ? sqrt(variance / (double)(sum->n - 1)) : 0.0;
}

const char *cli_kv_name(const tern_engine *engine)
{
    return tern_engine_plan(engine)->workload.kv_type == TERN_KV_F16 ? "f16" : "i8";
}

const char *cli_head_name(const tern_engine *engine)
{
    return tern_engine_plan(engine)->workload.head_type == TERN_HEAD_I16 ? "i16" : "i8";
}
