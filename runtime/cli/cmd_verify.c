/* cmd_verify.c - `tern verify`: does this machine compute what it should, and is the model what its
 * maker made? Kernels against known answers, memory against the plan, log-probabilities against the
 * maker's. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "cli/console.h"

typedef struct verify_options {
    cli_model_options model;
    int json;
} verify_options;

static const cli_option options[] = {
    {"json", 0, CLI_FLAG, offsetof(verify_options, json), 0, 0, NULL, "a JSON object"},
    CLI_MODEL_OPTIONS(verify_options, model),
};
static int verify(int argc, char **argv, tern_error *err);
const cli_command cli_verify = {"verify", "checks kernels, memory and the model's own known answer",
                                "",       options,
                                (int)(sizeof options / sizeof options[0]), verify};

/* Results so far; the first failure decides the status. */
typedef struct report {
    json_t *checks;
    int json, status;
    tern_error *err;
} report;

static void add(report *r, const char *name, int passed, const char *detail)
{
    json_array_append_new(r->checks, json_pack("{s:s, s:b, s:s}", "check", name, "passed", passed,
                                               "detail", detail));
    if (!r->json)
        printf("%s%-6s%s %-18s %s\n", cli_color(stdout, passed ? CLI_GREEN : CLI_RED),
               passed ? "ok" : "FAILED", cli_color(stdout, CLI_PLAIN), name, detail);
    if (!passed && r->status == TERN_OK)
        r->status = tern_fail(r->err, TERN_E_SELF_TEST, "%s: %s", name, detail);
}

/* The devices were opened, so their known answers hold; the plan's bytes must be the real ones. */
static int check_memory(report *r, const cli_session *s, tern_error *err)
{
    const tern_plan *plan = tern_engine_plan(s->engine);
    for (int i = 0; i < plan->n_devices; i++) {
        const tern_device_info *info = tern_engine_device(s->engine, i);
        char detail[160];
        snprintf(detail, sizeof detail, "%s, %s, level %s", info->name, info->hardware,
                 info->level);
        add(r, "kernels", 1, detail);
        tern_memory memory;
        const int status =
            tern_plan_memory(&memory, plan, tern_model_config_of(s->model), i, err);
        if (status != TERN_OK) return status;
        const uint64_t used = tern_engine_used_bytes(s->engine, i);
        snprintf(detail, sizeof detail, "%s, planned %llu bytes, allocated %llu", info->name,
                 (unsigned long long)memory.total, (unsigned long long)used);
        add(r, "memory", memory.total == used, detail);
    }
    return TERN_OK;
}

/* Makers compute with the default types; an int8 KV cache or head may be this much further away. */
#define COARSE 4.0

static int check_canary(report *r, const cli_session *s, tern_error *err)
{
    const tern_canary canary = tern_model_canary(s->model);
    if (canary.n == 0) {
        add(r, "model", 1, "the file holds no known answer to compare with");
        return TERN_OK;
    }
    double *logprobs = calloc(canary.n, sizeof *logprobs);
    if (!logprobs) return tern_fail(err, TERN_E_FIT, "no memory for the known answer");
    const int status = tern_engine_score(s->engine, logprobs, canary.ids, (int)canary.n, err);
    double worst = 0.0, sum = 0.0;
    for (size_t i = 0; i + 1 < canary.n; i++) {
        const double difference = fabs(logprobs[i] - (double)canary.logprobs[i]);
        if (difference > worst || isnan(difference)) worst = difference; /* a NaN stays */
        sum += logprobs[i];
    }
    free(logprobs);
    if (status != TERN_OK) return status;
    const tern_workload *w = &tern_engine_plan(s->engine)->workload;
    const int exact = w->kv_type == TERN_KV_F16 && w->head_type == TERN_HEAD_I16;
    const double allowed = (exact ? 1.0 : COARSE) * (double)canary.tolerance;
    char detail[200];
    snprintf(detail, sizeof detail,
             "%zu log-probabilities, mean %.4f, differ from the maker's by at most "
             "%.4f (allowed %.4f)",
             canary.n - 1, sum / (double)(canary.n - 1), worst, allowed);
    add(r, "model", worst <= allowed, detail);
    return TERN_OK;
}

static int verify(int argc, char **argv, tern_error *err)
{
    verify_options o = {0};
    int status = cli_parse(&o, &cli_verify, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    cli_session session;
    status = cli_open(&session, &o.model, err);
    if (status != TERN_OK) return status;
    report r = {json_array(), o.json, TERN_OK, err};
    status = check_memory(&r, &session, err);
    if (status == TERN_OK) status = check_canary(&r, &session, err);
    if (status == TERN_OK && o.json)
        status = cli_print_json(
            json_pack("{s:s, s:b, s:O}", "model", tern_model_config_of(session.model)->name,
                      "passed", r.status == TERN_OK, "checks", r.checks),
            err);
    json_decref(r.checks);
    cli_close(&session);
    return status == TERN_OK ? r.status : status;
}
