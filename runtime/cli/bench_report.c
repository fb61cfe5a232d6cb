/* bench_report.c - what was measured, as a Markdown table, as CSV, or as one JSON object.
 *
 * tok_s and limit_tok_s are medians over the samples; spread is (largest - smallest) / median;
 * of_limit is the median of each sample's own tok_s / limit_tok_s, because the limits of a shared
 * machine move with its load. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "cli/bench.h"

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

/* A test's line. */
typedef struct row {
    double tok_s, spread, limit_tok_s, of_limit, bytes, engine_us;
} row;

typedef struct limits_row {
    double read_gb_s, int8_gmac_s, f32_gfma_s;
} limits_row;

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Sorts. */
static double median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static row row_of(const bench_result *r)
{
    double speeds[BENCH_MAX_REPS], limits[BENCH_MAX_REPS], shares[BENCH_MAX_REPS];
    double engine_us[BENCH_MAX_REPS];
    for (int i = 0; i < r->n_samples; i++) {
        speeds[i] = r->samples[i].tok_s;
        limits[i] = r->samples[i].limit_tok_s;
        shares[i] = speeds[i] / limits[i];
        engine_us[i] = r->samples[i].engine_us;
    }
    row out = {.tok_s = median(speeds, r->n_samples), .limit_tok_s = median(limits, r->n_samples),
               .of_limit = median(shares, r->n_samples), .bytes = r->samples[0].bytes,
               .engine_us = median(engine_us, r->n_samples)};
    out.spread = (speeds[r->n_samples - 1] - speeds[0]) / out.tok_s;
    return out;
}

/* Medians over the samples of all tests. */
static limits_row limits_of(const bench_result *results, int n)
{
    double values[3][BENCH_MAX_REPS];
    double per_test[3][BENCH_MAX_TESTS];
    for (int t = 0; t < n; t++) {
        const int n_samples = results[t].n_samples;
        for (int i = 0; i < n_samples; i++) {
            const tern_rates *l = &results[t].samples[i].limits;
            values[0][i] = l->read_bytes / 1e9;
            values[1][i] = l->int8_mac / 1e9;
            values[2][i] = l->f32_fma / 1e9;
        }
        for (int k = 0; k < 3; k++) per_test[k][t] = median(values[k], n_samples);
    }
    return (limits_row){median(per_test[0], n), median(per_test[1], n), median(per_test[2], n)};
}

/* Joules per token over all samples; 0 when the device does not count, or when the time is too
 * short for a counter that moves ten times a second. */
static double joules_per_token(const bench_result *result)
{
    double mj = 0, ns = 0, n_tok = 0;
    for (int i = 0; i < result->n_samples; i++) {
        mj += (double)result->samples[i].energy_mj;
        ns += (double)result->samples[i].ns;
        n_tok += (double)result->samples[i].n_tok;
    }
    return ns >= 1e9 ? mj / 1e3 / n_tok : 0;
}

/* The conditions of the measurement, in words. */
typedef struct conditions {
    const tern_device_info *device;
    const char *model, *kv, *head, *commit, *instructions;
    limits_row limits;
    double resident_mib;
} conditions;

static conditions conditions_of(const bench_rig *rig, const bench_result *results, int n,
                                const char *commit)
{
    const tern_workload *w = &tern_engine_plan(rig->engine)->workload;
    return (conditions){
        .device = tern_engine_device(rig->engine, 0), .model = rig->config->name,
        .kv = w->kv_type == TERN_KV_F16 ? "f16" : "i8",
        .head = w->head_type == TERN_HEAD_I16 ? "i16" : "i8",
        .commit = commit, .instructions = cli_bench_meter_name(rig),
        .limits = limits_of(results, n),
        .resident_mib = (double)rig->resident_bytes / 1048576.0,
    };
}

/* Predicted beside measured, when there is a plan that predicts. */
static void print_predictions(const bench_result *results, int n)
{
    if (results[0].predicted_tok_s <= 0) return;
    printf("\n| test | predicted, tok/s | measured, tok/s | spread | off by |\n"
           "|---|--:|--:|--:|--:|\n");
    for (int i = 0; i < n; i++) {
        const row r = row_of(&results[i]);
        printf("| %s | %.2f | %.2f | %.0f %% | %+.1f %% |\n", results[i].test.name,
               results[i].predicted_tok_s, r.tok_s, 100 * r.spread,
               100 * (results[i].predicted_tok_s / r.tok_s - 1));
    }
}

static void print_markdown(const conditions *c, const bench_result *results, int n)
{
    printf("%s: %s, %d threads, level %s, KV %s, head %s, %.0f MiB resident\n", c->model,
           c->device->hardware, c->device->n_threads, c->device->level, c->kv, c->head,
           c->resident_mib);
    printf("tern %s, commit %s, %s\n", tern_version(), *c->commit ? c->commit : "unknown",
           COMPILER);
    printf("limits (%s): read %.1f GB/s, int8 %.0f GMAC/s, f32 %.0f GFMA/s\n\n", c->instructions,
           c->limits.read_gb_s, c->limits.int8_gmac_s, c->limits.f32_gfma_s);
    printf("| test | threads | tok/s | spread | limit, tok/s | of limit | MB a step | engine, us a "
           "step |\n|---|--:|--:|--:|--:|--:|--:|--:|\n");
    for (int i = 0; i < n; i++) {
        const row r = row_of(&results[i]);
        printf("| %s | %d | %.2f | %.0f %% | %.1f | %.1f %% | %.1f | %.1f |\n",
               results[i].test.name, c->device->n_threads, r.tok_s, 100 * r.spread, r.limit_tok_s,
               100 * r.of_limit, r.bytes / 1e6, r.engine_us);
    }
    for (int i = 0; i < n; i++)
        if (joules_per_token(&results[i]) > 0)
            printf("%senergy of %s: %.4f J a token\n", i ? "" : "\n", results[i].test.name,
                   joules_per_token(&results[i]));
    print_predictions(results, n);
}

/* A quoted field; quotes inside are doubled. */
static void print_quoted(const char *text)
{
    putchar('"');
    for (; *text; text++) {
        if (*text == '"') putchar('"');
        putchar(*text);
    }
    putchar('"');
}

static void print_csv(const conditions *c, const bench_result *results, int n)
{
    printf("name,threads,tok_s,spread,limit_tok_s,of_limit,bytes,read_gb_s,int8_gmac_s,level,kv,"
           "head,commit,machine,model\n");
    for (int i = 0; i < n; i++) {
        const row r = row_of(&results[i]);
        printf("%s,%d,%.4f,%.4f,%.4f,%.4f,%.0f,%.2f,%.1f,%s,%s,%s,%s,", results[i].test.name,
               c->device->n_threads, r.tok_s, r.spread, r.limit_tok_s, r.of_limit, r.bytes,
               c->limits.read_gb_s, c->limits.int8_gmac_s, c->device->level, c->kv, c->head,
               c->commit);
        print_quoted(c->device->hardware);
        putchar(',');
        print_quoted(c->model);
        putchar('\n');
    }
}

static json_t *test_json(const bench_result *result, int n_threads)
{
    const row r = row_of(result);
    json_t *speeds = json_array(), *limits = json_array();
    for (int i = 0; i < result->n_samples; i++) {
        json_array_append_new(speeds, json_real(result->samples[i].tok_s));
        json_array_append_new(limits, json_real(result->samples[i].limit_tok_s));
    }
    json_t *object = json_pack("{s:s, s:i, s:f, s:f, s:f, s:f, s:f, s:I, s:o, s:o}", "name",
                               result->test.name, "threads", n_threads, "tok_s", r.tok_s, "spread",
                               r.spread, "limit_tok_s", r.limit_tok_s, "of_limit", r.of_limit,
                               "engine_us", r.engine_us, "bytes", (json_int_t)r.bytes, "samples",
                               speeds, "limit_samples", limits);
    if (result->predicted_tok_s > 0)
        json_object_set_new(object, "predicted_tok_s", json_real(result->predicted_tok_s));
    if (joules_per_token(result) > 0)
        json_object_set_new(object, "joules_per_tok", json_real(joules_per_token(result)));
    return object;
}

static int print_json(const conditions *c, const bench_result *results, int n, tern_error *err)
{
    json_t *tests = json_array();
    for (int i = 0; i < n; i++)
        json_array_append_new(tests, test_json(&results[i], c->device->n_threads));
    json_t *limits = json_pack("{s:f, s:f, s:f, s:s}", "read_gb_s", c->limits.read_gb_s,
                               "int8_gmac_s", c->limits.int8_gmac_s, "f32_gfma_s",
                               c->limits.f32_gfma_s, "instructions", c->instructions);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:i, s:s, s:s, s:s, s:f, s:o, s:o}", "machine",
        c->device->hardware, "commit", c->commit, "version", tern_version(), "compiler", COMPILER,
        "level", c->device->level, "threads", c->device->n_threads, "model", c->model, "kv", c->kv,
        "head", c->head, "resident_mib", c->resident_mib, "limits", limits, "tests", tests);
    if (!object) return tern_fail(err, TERN_E_FIT, "no memory for the JSON answer");
    const int failed =
        json_dumpf(object, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) != 0 ||
        putchar('\n') == EOF;
    json_decref(object);
    return failed ? tern_fail(err, TERN_E_IO, "cannot write to standard output") : TERN_OK;
}

int cli_bench_report(const bench_rig *rig, const bench_result *results, int n, bench_form form,
                     const char *commit, tern_error *err)
{
    const conditions c = conditions_of(rig, results, n, commit);
    if (form == BENCH_JSON) return print_json(&c, results, n, err);
    if (form == BENCH_CSV)
        print_csv(&c, results, n);
    else
        print_markdown(&c, results, n);
    return TERN_OK;
}
