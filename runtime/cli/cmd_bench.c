/* cmd_bench.c - `tern bench`: prefill and decode speeds, each beside the limit of the machine
 * measured in the same run. Samples of the tests alternate, so that a change of the machine's load
 * meets all of them. Nothing is timed on a device whose known answers fail: opening runs them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "base/units.h"
#include "cli/bench.h"
#include "cli/console.h"

#ifndef TERN_COMMIT
#define TERN_COMMIT ""
#endif

typedef struct bench_options {
    cli_model_options model;
    const char *preset, *pg, *depths, *batches;
    int pp, tg, chunk, reps, csv, json, gemm;
} bench_options;

#define AT(member) offsetof(bench_options, member)
static const cli_option options[] = {
    {"preset", 0, CLI_TEXT, AT(preset), 0, 0, "NAME",
     "random weights in a public shape: 2b4t, large, 3b, llama3-8b, falcon3-1b, ..., tiny"},
    {"pp", 0, CLI_INT, AT(pp), 0, 1 << 20, "N", "tokens of the prompt (default 512, 0: no test)"},
    {"tg", 0, CLI_INT, AT(tg), 0, 1 << 20, "N", "tokens to decode (default 128, 0: no test)"},
    {"pg", 0, CLI_TEXT, AT(pg), 0, 0, "P,N",
     "a prompt of P tokens and N decoded after it, as one test, e.g. 512,128"},
    {"chunk", 0, CLI_INT, AT(chunk), 1, 1 << 16, "N", "tokens of a step at most (default 256)"},
    {"depth", 0, CLI_TEXT, AT(depths), 0, 0, "LIST",
     "decode after that many tokens, e.g. 0,1024 (default 0)"},
    {"batch", 0, CLI_TEXT, AT(batches), 0, 0, "LIST",
     "sequences decoded at once, e.g. 1,8 (default 1)"},
    {"reps", 0, CLI_INT, AT(reps), 1, BENCH_MAX_REPS, "N", "samples of each test (default 3)"},
    {"gemm", 0, CLI_FLAG, AT(gemm), 0, 0, NULL,
     "products alone, W1.58A8 beside cuBLAS: --preset LIST, --batch LIST of tokens, --reps"},
    {"csv", 0, CLI_FLAG, AT(csv), 0, 0, NULL, "comma-separated values instead of Markdown"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "a JSON object instead of Markdown"},
    CLI_MODEL_OPTIONS(bench_options, model),
};
static int bench(int argc, char **argv, tern_error *err);
const cli_command cli_bench = {"bench",
                               "measures speeds, each beside the limit of the machine",
                               "",
                               options,
                               (int)(sizeof options / sizeof options[0]),
                               bench};

/* "0,1k" into numbers of min .. max. */
static int read_list(int list[BENCH_MAX_LIST], int *n, const char *name, const char *text,
                     const int range[2], tern_error *err)
{
    *n = 0;
    for (const char *at = text;;) {
        const char *end;
        double value;
        if (!tern_read_count(&value, &end, at) || (*end && *end != ',') || value < range[0] ||
            value > range[1] || *n == BENCH_MAX_LIST)
            return tern_fail(err, TERN_E_USAGE,
                             "--%s is '%.40s': use at most %d numbers from %d to %d with commas",
                             name, text, BENCH_MAX_LIST, range[0], range[1]);
        list[(*n)++] = (int)value;
        if (!*end) return TERN_OK;
        at = end + 1;
    }
}

static int read_pair(bench_test *t, const char *text, tern_error *err)
{
    static const int range[2] = {1, 1 << 20};
    int list[BENCH_MAX_LIST], n;
    const int status = read_list(list, &n, "pg", text, range, err);
    if (status != TERN_OK) return status;
    if (n != 2)
        return tern_fail(err, TERN_E_USAGE,
                         "--pg is '%.40s': use the tokens of the prompt, a comma and the tokens to "
                         "decode",
                         text);
    *t = (bench_test){.n_prompt = list[0], .n_decode = list[1], .batch = 1};
    snprintf(t->name, sizeof t->name, "pp%d+tg%d", list[0], list[1]);
    return TERN_OK;
}

/* The tests that the options name, prefill first. */
static int list_tests(bench_result *results, int *n, const bench_options *o, tern_error *err)
{
    static const int depth_range[2] = {0, 1 << 20}, batch_range[2] = {1, TERN_MAX_SEQ};
    int depths[BENCH_MAX_LIST], batches[BENCH_MAX_LIST], n_depths, n_batches;
    int status = read_list(depths, &n_depths, "depth", o->depths, depth_range, err);
    if (status == TERN_OK)
        status = read_list(batches, &n_batches, "batch", o->batches, batch_range, err);
    if (status != TERN_OK) return status;
    *n = 0;
    if (o->pp) {
        bench_test *t = &results[(*n)++].test;
        *t = (bench_test){.n_prompt = o->pp, .batch = 1};
        snprintf(t->name, sizeof t->name, "pp%d", o->pp);
    }
    if (o->pg) {
        bench_test *t = &results[(*n)++].test;
        status = read_pair(t, o->pg, err);
        if (status != TERN_OK) return status;
    }
    for (int b = 0; b < n_batches && o->tg; b++)
        for (int d = 0; d < n_depths; d++) {
            char batch[16] = "", depth[16] = "";
            if (batches[b] > 1) snprintf(batch, sizeof batch, "x%d", batches[b]);
            if (depths[d]) snprintf(depth, sizeof depth, "@%d", depths[d]);
            bench_test *t = &results[(*n)++].test;
            *t = (bench_test){.n_decode = o->tg, .depth = depths[d], .batch = batches[b]};
            snprintf(t->name, sizeof t->name, "tg%d%s%s", o->tg, batch, depth);
        }
    return *n ? TERN_OK
              : tern_fail(err, TERN_E_USAGE,
                          "--pp and --tg are 0 and there is no --pg: there is nothing to time");
}

/* Context and sequences that the tests need; -c may only ask for more. */
static int size_workload(tern_workload *w, const bench_options *o, const bench_result *results,
                         int n, tern_error *err)
{
    *w = (tern_workload){.n_tok = o->chunk, .kv_type = (tern_kv_type)o->model.kv,
                         .head_type = (tern_head_type)o->model.head};
    int needed = 1;
    for (int i = 0; i < n; i++) {
        const int here = cli_bench_context(&results[i].test, o->chunk);
        if (here > needed) needed = here;
        if (results[i].test.batch > w->n_seq) w->n_seq = results[i].test.batch;
    }
    if (o->model.n_ctx && o->model.n_ctx < needed)
        return tern_fail(err, TERN_E_USAGE,
                         "--ctx is %d, but these tests need %d: ask for more, or for less to time",
                         o->model.n_ctx, needed);
    w->n_ctx = o->model.n_ctx ? o->model.n_ctx : needed;
    return TERN_OK;
}

static int alloc_rig(bench_rig *rig, tern_error *err)
{
    const tern_workload *w = &tern_engine_plan(rig->engine)->workload;
    const size_t n_ctx = (size_t)w->n_ctx, n_seq = (size_t)w->n_seq;
    int status = tern_alloc(&rig->events, (size_t)tern_engine_max_events(rig->engine),
                            sizeof *rig->events, "the events", err);
    if (status == TERN_OK)
        status = tern_alloc(&rig->prompt, n_ctx, sizeof *rig->prompt, "the prompt", err);
    if (status == TERN_OK)
        status = tern_alloc(&rig->held, n_seq, sizeof *rig->held, "the sequences", err);
    if (status == TERN_OK)
        status = tern_alloc(&rig->ids, n_seq, sizeof *rig->ids, "the sequences", err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < n_ctx; i++)
        rig->prompt[i] = (int32_t)(tern_random_u64(1, 0, (uint32_t)i) %
                                   (uint64_t)rig->config->n_vocab);
    return TERN_OK;
}

static void free_rig(bench_rig *rig)
{
    cli_bench_meter_close(rig);
    free(rig->events);
    free(rig->prompt);
    free(rig->held);
    free(rig->ids);
    tern_engine_destroy(rig->engine);
}

/* The meter comes last: its buffer is no memory of the model. */
static int open_rig(bench_rig *rig, const tern_model *model, const bench_options *o,
                    const tern_workload *workload, tern_error *err)
{
    rig->config = tern_model_config_of(model);
    int status = cli_plan_make(&rig->plan, rig->config, &o->model, workload, err);
    if (status != TERN_OK) return status;
    cli_plan_say(&rig->plan, rig->config);
    const tern_engine_options engine = {.device = {.n_threads = o->model.n_threads},
                                        .progress = cli_progress()};
    status = tern_engine_create(&rig->engine, model, &rig->plan.plan, &engine, err);
    cli_progress_end();
    if (status == TERN_OK) status = alloc_rig(rig, err);
    if (status == TERN_OK) status = cli_bench_warm_up(rig, err);
    if (status != TERN_OK) return status;
    rig->resident_bytes = tern_peak_resident_bytes();
    return cli_bench_meter_open(rig, err);
}

static int time_tests(bench_rig *rig, bench_result *results, int n, int reps, tern_error *err)
{
    for (int i = 0; i < n; i++)
        results[i].predicted_tok_s = cli_bench_predict(rig, &results[i].test);
    for (int rep = 0; rep < reps; rep++)
        for (int i = 0; i < n; i++) {
            bench_result *r = &results[i];
            const int status = cli_bench_sample(&r->samples[rep], rig, &r->test, err);
            if (status != TERN_OK) return status;
            r->n_samples = rep + 1;
        }
    return TERN_OK;
}

static bench_form form_of(const bench_options *o)
{
    return o->json ? BENCH_JSON : o->csv ? BENCH_CSV : BENCH_MARKDOWN;
}

static int bench_model(const bench_options *o, bench_result *results, int n, tern_error *err)
{
    tern_workload workload;
    int status = size_workload(&workload, o, results, n, err);
    if (status != TERN_OK) return status;
    tern_model *model;
    status = o->preset ? tern_model_preset(&model, o->preset, 1, err)
                       : cli_open_model(&model, &o->model, err);
    if (status != TERN_OK) return status;
    bench_rig rig = {0};
    status = open_rig(&rig, model, o, &workload, err);
    if (status == TERN_OK) status = time_tests(&rig, results, n, o->reps, err);
    if (status == TERN_OK)
        status = cli_bench_report(&rig, results, n, form_of(o), TERN_COMMIT, err);
    free_rig(&rig);
    tern_model_close(model);
    return status;
}

static int bench_gemm(const bench_options *o, tern_error *err)
{
    static const char all_tokens[] = "1,2,4,8,16,32,64,128,256,512,1024,2048,4096";
    if (o->model.model)
        return tern_fail(err, TERN_E_USAGE, "--gemm needs no model: use --preset, or leave out -m");
    const bench_gemm_options compared = {
        .device = o->model.device ? o->model.device : "cuda:0",
        .presets = o->preset ? o->preset : "2b4t,3b,llama3-8b,70b",
        .tokens = o->batches ? o->batches : all_tokens,
        .n_samples = o->reps, .form = form_of(o),
    };
    return cli_bench_gemm(&compared, err);
}

static int bench(int argc, char **argv, tern_error *err)
{
    bench_options o = {.depths = "0", .pp = 512, .tg = 128, .chunk = 256, .reps = 3};
    int status = cli_parse(&o, &cli_bench, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    if (o.preset && o.model.model)
        return tern_fail(err, TERN_E_USAGE, "both --preset and -m are given: use one of them");
    if (o.csv && o.json)
        return tern_fail(err, TERN_E_USAGE, "both --csv and --json are given: use one of them");
    if (o.gemm) return bench_gemm(&o, err);
    if (!o.batches) o.batches = "1";
    bench_result *results;
    status = tern_alloc(&results, BENCH_MAX_TESTS, sizeof *results, "the results", err);
    if (status != TERN_OK) return status;
    int n;
    status = list_tests(results, &n, &o, err);
    cli_catch_interrupt();
    if (status == TERN_OK) status = bench_model(&o, results, n, err);
    free(results);
    return status;
}
