/* cmd_plan.c - `tern plan`: where a model's parts go, the bytes on each device and the speed to
 * expect, from the file's header alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "cli/console.h"
#include "cli/site.h"

typedef struct plan_options {
    cli_site_options site;
    const char *model, *preset, *pins, *save, *strict;
    int n_ctx, n_seq, n_tok, n_prompt, n_out, objective, kv, head, explain, json, compare;
} plan_options;

#define AT(member) offsetof(plan_options, member)
static const cli_option options[] = {
    {"model", 'm', CLI_TEXT, AT(model), 0, 0, "FILE", "model file (GGUF); or name it without -m"},
    {"preset", 0, CLI_TEXT, AT(preset), 0, 0, "NAME", "public shapes: 2b4t, 27b, 70b, 100b, ..."},
    {"device", 'd', CLI_TEXT, AT(site.devices), 0, 0, "LIST",
     "devices, also profile:NAME for others (default cpu)"},
    {"profile", 0, CLI_TEXT, AT(site.profiles), 0, 0, "FILE",
     "what `tern calibrate` wrote (default: its default)"},
    {"threads", 't', CLI_INT, AT(site.n_threads), 1, 1024, "N", "threads of a CPU device"},
    {"mem", 0, CLI_TEXT, AT(site.memory), 0, 0, "LIST",
     "budgets, e.g. cuda:0=6GiB,host=12GiB (default: what is free)"},
    {"reserve", 0, CLI_TEXT, AT(site.reserve), 0, 0, "LIST", "bytes to take off the budgets"},
    {"pin", 0, CLI_TEXT, AT(pins), 0, 0, "LIST", "places, e.g. blk.0-9=cuda:0,kv=host,head=cuda:0"},
    {"ctx", 'c', CLI_INT, AT(n_ctx), 1, 1 << 24, "N",
     "context of a request (default: the model's, or what fits)"},
    {"seqs", 0, CLI_INT, AT(n_seq), 1, TERN_MAX_SEQ, "N", "requests at once (default 1)"},
    {"chunk", 0, CLI_INT, AT(n_tok), 1, 65536, "N", "tokens of a step at most (default 256)"},
    {"prompt", 0, CLI_INT, AT(n_prompt), 1, 1 << 24, "N", "tokens of a prompt (default 512)"},
    {"out", 0, CLI_INT, AT(n_out), 1, 1 << 24, "N", "tokens of an answer (default 128)"},
    {"objective", 0, CLI_CHOICE, AT(objective), 0, 0, "latency|throughput|energy",
     "what is best (default latency)"},
    {"kv", 0, CLI_CHOICE, AT(kv), 0, 0, "f16|i8", "type of the KV cache (default f16)"},
    {"head", 0, CLI_CHOICE, AT(head), 0, 0, "i16|i8", "precision of the head (default i16)"},
    {"strict", 0, CLI_TEXT, AT(strict), 0, 0, "LIST",
     "fail rather than: no-host (use the host), no-shrink (the context)"},
    {"explain", 0, CLI_FLAG, AT(explain), 0, 0, NULL, "where time goes, alternatives, the cliff"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "the plan as JSON"},
    {"save", 0, CLI_TEXT, AT(save), 0, 0, "FILE", "write the plan for --plan FILE"},
    {"compare", 0, CLI_FLAG, AT(compare), 0, 0, NULL, "compare two saved plans: --compare A B"},
};
static int plan(int argc, char **argv, tern_error *err);
const cli_command cli_plan_command = {
    "plan",
    "says where a model goes, the bytes and the speed, without loading it",
    "[MODEL | --compare A B]",
    options,
    (int)(sizeof options / sizeof options[0]),
    plan};

/* ---- --compare ------------------------------------------------------------------------------ */

static int read_file(tern_plan_file *out, const char *path, tern_error *err)
{
    char *text;
    size_t bytes;
    int status = cli_read_file(&text, &bytes, path, err);
    if (status != TERN_OK) return status;
    status = tern_plan_read(out, text, bytes, path, NULL, err);
    free(text);
    return status;
}

/* The lines of a comparison. */
typedef struct comparison {
    struct {
        char what[40];
        double a, b;
    } lines[2 * TERN_PLAN_MAX_DEVICES + 6];
    int n;
} comparison;

static void add_line(comparison *c, const char *what, double a, double b)
{
    snprintf(c->lines[c->n].what, sizeof c->lines[0].what, "%s", what);
    c->lines[c->n].a = a;
    c->lines[c->n++].b = b;
}

/* Layers whose halves lie on devices of other names. */
static int moved(const tern_plan *a, const tern_plan *b)
{
    int n = 0;
    for (int l = 0; l < a->n_layers && l < b->n_layers; l++)
        n += strcmp(a->devices[a->attn_device[l]], b->devices[b->attn_device[l]]) != 0 ||
             strcmp(a->devices[a->ffn_device[l]], b->devices[b->ffn_device[l]]) != 0;
    return n;
}

static void compare_bytes(comparison *c, const tern_plan_file f[2])
{
    for (int side = 0; side < 2; side++)
        for (int d = 0; d < f[side].plan.n_devices; d++) {
            const char *name = f[side].plan.devices[d];
            double mib[2] = {0};
            int seen = 0;
            for (int s = 0; s < 2; s++)
                for (int i = 0; i < f[s].plan.n_devices; i++) {
                    if (strcmp(f[s].plan.devices[i], name) != 0) continue;
                    mib[s] = (double)f[s].bytes[i] / 1048576.0;
                    seen |= s < side;
                }
            char what[40];
            snprintf(what, sizeof what, "%s, MiB", name);
            if (!seen) add_line(c, what, mib[0], mib[1]);
        }
}

static int print_comparison(const comparison *c, const tern_plan_file f[2], char **paths, int json,
                            tern_error *err)
{
    const int elsewhere = moved(&f[0].plan, &f[1].plan);
    if (json) {
        json_t *lines = json_array();
        for (int i = 0; i < c->n; i++)
            json_array_append_new(lines, json_pack("{s:s, s:f, s:f}", "what", c->lines[i].what, "a",
                                                   c->lines[i].a, "b", c->lines[i].b));
        return cli_print_json(json_pack("{s:s, s:s, s:s, s:o, s:i}", "model", f[0].model, "a",
                                        paths[0], "b", paths[1], "compared", lines,
                                        "layers_elsewhere", elsewhere),
                              err);
    }
    printf("%s\n%-26s%14.14s%14.14s%12s\n", f[0].model, "", paths[0], paths[1], "change");
    for (int i = 0; i < c->n; i++) {
        const double a = c->lines[i].a, b = c->lines[i].b;
        printf("%-26s%14.3f%14.3f%+10.1f %%\n", c->lines[i].what, a, b,
               a > 0 ? 100 * (b / a - 1) : 0.0);
    }
    printf("layers that lie elsewhere: %d\n", elsewhere);
    return TERN_OK;
}

static int compare_plans(char **paths, int json, tern_error *err)
{
    tern_plan_file f[2];
    for (int i = 0; i < 2; i++) {
        const int status = read_file(&f[i], paths[i], err);
        if (status != TERN_OK) return status;
    }
    if (strcmp(f[0].model, f[1].model) != 0)
        return tern_fail(err, TERN_E_USAGE,
                         "'%.100s' is a plan for '%s', '%.100s' one for '%s': compare plans of one "
                         "model",
                         paths[0], f[0].model, paths[1], f[1].model);
    comparison c = {.n = 0};
    compare_bytes(&c, f);
    add_line(&c, "context", f[0].plan.workload.n_ctx, f[1].plan.workload.n_ctx);
    add_line(&c, "first token, s", f[0].first_token_s, f[1].first_token_s);
    add_line(&c, "a token, ms", 1e3 * f[0].step_s, 1e3 * f[1].step_s);
    add_line(&c, "prefill, tok/s", f[0].prefill_tok_s, f[1].prefill_tok_s);
    add_line(&c, "decode, tok/s", f[0].decode_tok_s, f[1].decode_tok_s);
    add_line(&c, "the whole, s", f[0].total_s, f[1].total_s);
    return print_comparison(&c, f, paths, json, err);
}

/* ---- a plan --------------------------------------------------------------------------------- */

static int read_strict(int *no_host, int *no_shrink, const char *text, tern_error *err)
{
    *no_host = *no_shrink = 0;
    for (const char *at = text ? text : ""; *at;) {
        const size_t n = strcspn(at, ",|");
        if (n == 7 && memcmp(at, "no-host", n) == 0)
            *no_host = 1;
        else if (n == 9 && memcmp(at, "no-shrink", n) == 0)
            *no_shrink = 1;
        else
            return tern_fail(err, TERN_E_USAGE,
                             "--strict is '%.40s': use no-host, no-shrink or both", text);
        at += n + (at[n] != 0);
    }
    return TERN_OK;
}

static int refuse_host(const tern_report *r, tern_error *err)
{
    const char *host = r->site->devices[r->site->host].name;
    for (int d = 0; d < r->plan.n_devices; d++)
        if (strcmp(r->plan.devices[d], host) == 0)
            return tern_fail(err, TERN_E_FIT,
                             "the best plan puts %.1f MiB on the host (%s), which --strict no-host "
                             "forbids: give the other devices more memory or ask for less context",
                             (double)r->memory[d].total / 1048576.0, host);
    return TERN_OK;
}

static int search(tern_report *r, const plan_options *o, const tern_pins *pins, tern_error *err)
{
    int no_host, no_shrink;
    int status = read_strict(&no_host, &no_shrink, o->strict, err);
    if (status != TERN_OK) return status;
    const tern_workload workload = {.n_ctx = o->n_ctx    ? o->n_ctx
                                             : no_shrink ? r->config->n_ctx
                                                         : 0,
                                    .n_seq = o->n_seq,
                                    .n_tok = o->n_tok,
                                    .kv_type = (tern_kv_type)o->kv,
                                    .head_type = (tern_head_type)o->head};
    const tern_goal goal = {o->n_prompt, o->n_out, (tern_objective)o->objective};
    status = tern_plan_search(&r->plan, r->config, &workload, r->site, pins, &goal, err);
    if (status != TERN_OK) return status;
    r->pins = pins;
    r->goal = tern_goal_fill(&goal, &r->plan.workload);
    if (r->goal.n_prompt + r->goal.n_out > r->plan.workload.n_ctx)
        return tern_fail(err, o->n_ctx ? TERN_E_USAGE : TERN_E_FIT,
                         "%d tokens in and %d out do not fit into the context of %d",
                         r->goal.n_prompt, r->goal.n_out, r->plan.workload.n_ctx);
    status = tern_report_fill(r, err);
    return status == TERN_OK && no_host ? refuse_host(r, err) : status;
}

static int print(const tern_report *r, const plan_options *o, const char *note, tern_error *err)
{
    char *json = NULL, *text = NULL;
    int status = TERN_OK;
    if (o->json || o->save) status = tern_plan_write(&json, r, err);
    if (status == TERN_OK && o->save) status = cli_write_file(o->save, json, err);
    if (status == TERN_OK && o->json) {
        puts(json);
    } else if (status == TERN_OK) {
        char line[TERN_PLAN_LINE_BYTES];
        status = tern_plan_text(&text, r, o->explain, err);
        if (status == TERN_OK) printf("%s", text);
        if (status == TERN_OK && *note) printf("  note: %s\n", note);
        if (status == TERN_OK && o->save)
            fprintf(stderr, "saved '%s': %s\n", o->save, tern_plan_line(line, r));
    }
    free(json);
    free(text);
    return status;
}

static int plan_model(const plan_options *o, tern_error *err)
{
    cli_site site;
    tern_model *model;
    int status = o->preset ? tern_model_preset(&model, o->preset, 1, err)
                           : tern_model_open(&model, o->model, err);
    if (status != TERN_OK) return status;
    tern_report report = {.config = tern_model_config_of(model), .site = &site.site};
    tern_pins pins;
    status = cli_site_open(&site, &o->site, err);
    if (status == TERN_OK) status = tern_pins_parse(&pins, o->pins, report.config, &site.site, err);
    if (status == TERN_OK) status = search(&report, o, &pins, err);
    if (status == TERN_OK) status = print(&report, o, site.note, err);
    tern_model_close(model);
    return status;
}

static int plan(int argc, char **argv, tern_error *err)
{
    plan_options o = {0};
    int n;
    const int status = cli_parse(&o, &cli_plan_command, argc, argv, &n, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    if (o.compare) {
        if (n != 2)
            return tern_fail(err, TERN_E_USAGE, "--compare wants two plan files, here are %d", n);
        return compare_plans(argv + argc - n, o.json, err);
    }
    if (n + (o.model != NULL) + (o.preset != NULL) > 1)
        return tern_fail(err, TERN_E_USAGE,
                         "more than one model is named: give one file, or -m, or --preset");
    if (n) o.model = argv[argc - 1];
    return plan_model(&o, err);
}
