/* plan_file.c - a plan as JSON and back. The file names shapes, devices and bytes, so that a plan
 * for another model, another machine or another build of the program is told apart from ours. */
#include <jansson.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "plan/plan_part.h"
#include "plan/planner.h"

static const char *const kv_names[] = {"f16", "i8"}, *const head_names[] = {"i16", "i8"};
static const char *const objective_names[] = {"latency", "throughput", "energy"};

/* ---- writing -------------------------------------------------------------------------------- */

static json_t *shapes_json(const tern_model_config *c)
{
    return json_pack("{s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:b, s:b}", "d", c->d, "f", c->f,
                     "layers", c->n_layers, "h", c->h, "kv", c->kv, "hd", c->hd, "vocab",
                     c->n_vocab, "tied", c->tied, "sub_norms", c->sub_norms);
}

static json_t *cost_json(const tern_cost *cost, const tern_profile *profile)
{
    json_t *object = json_object();
    for (int i = 0; i < TERN_N_COST_CLASSES; i++) {
        const tern_work *w = &cost->of[i];
        double reach;
        const char *binds = i == TERN_COST_COPY      ? "link"
                            : i == TERN_COST_LATENCY ? "latency"
                                                     : tern_work_binds(&reach, w, profile);
        if (w->ns > 0)
            json_object_set_new(object, tern_cost_class_name((tern_cost_class)i),
                                json_pack("{s:f, s:f, s:s}", "us", w->ns * 1e-3, "bytes", w->bytes,
                                          "binds", binds));
    }
    return object;
}

static json_t *device_json(const tern_report *r, int d)
{
    const tern_site_device *device = &r->site->devices[tern_site_find(r->site, r->plan.devices[d])];
    json_t *bytes = json_object();
    for (int c = 0; c < TERN_N_MEMORY_CLASSES; c++)
        json_object_set_new(bytes, tern_memory_class_name((tern_memory_class)c),
                            json_integer((json_int_t)r->memory[d].bytes[c]));
    return json_pack("{s:s, s:s, s:s, s:b, s:b, s:I, s:I, s:o, s:o, s:o}", "name", device->name,
                     "profile", device->profile.name, "hardware", device->profile.hardware,
                     "absent", device->absent, "estimated", device->profile.estimated,
                     "budget_bytes", (json_int_t)device->budget_bytes, "total_bytes",
                     (json_int_t)r->memory[d].total, "bytes", bytes, "prefill",
                     cost_json(&r->forecast.prefill[d], &device->profile), "step",
                     cost_json(&r->forecast.step[d], &device->profile));
}

static json_t *runs_json(const tern_plan *p)
{
    json_t *runs = json_array();
    for (int l = 0, first = 0; l < p->n_layers; l++) {
        if (l + 1 < p->n_layers && p->attn_device[l + 1] == p->attn_device[l] &&
            p->ffn_device[l + 1] == p->ffn_device[l])
            continue;
        json_array_append_new(runs, json_pack("{s:i, s:i, s:s, s:s}", "first", first, "last", l,
                                              "attn", p->devices[p->attn_device[l]], "ffn",
                                              p->devices[p->ffn_device[l]]));
        first = l + 1;
    }
    return runs;
}

int tern_plan_write(char **text, const tern_report *r, tern_error *err)
{
    const tern_plan *p = &r->plan;
    const tern_forecast *f = &r->forecast;
    json_t *devices = json_array();
    for (int d = 0; d < p->n_devices; d++) json_array_append_new(devices, device_json(r, d));
    json_t *root = json_pack(
        "{s:i, s:s, s:s, s:o, s:{s:i, s:i, s:i, s:s, s:s}, s:{s:i, s:i, s:s}, s:o, s:o, s:s, s:s, "
        "s:{s:f, s:f, s:f, s:f, s:f, s:f}}",
        "tern_plan", TERN_PLAN_VERSION, "version", tern_version(), "model", r->config->name,
        "shapes", shapes_json(r->config), "workload", "ctx", p->workload.n_ctx, "seqs",
        p->workload.n_seq, "chunk", p->workload.n_tok, "kv", kv_names[p->workload.kv_type], "head",
        head_names[p->workload.head_type], "goal", "prompt", r->goal.n_prompt, "out", r->goal.n_out,
        "objective", objective_names[r->goal.objective], "devices", devices, "runs", runs_json(p),
        "embed", p->devices[p->embed_device], "head", p->devices[p->head_device], "forecast",
        "first_token_s", f->first_token_s, "step_s", f->step_s, "prefill_tok_s", f->prefill_tok_s,
        "decode_tok_s", f->decode_tok_s, "total_s", f->total_s, "joules", f->joules);
    char *out = root ? json_dumps(root, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) : NULL;
    json_decref(root);
    if (!out) return tern_fail(err, TERN_E_FIT, "no memory for the plan");
    *text = out;
    return TERN_OK;
}

/* ---- reading -------------------------------------------------------------------------------- */

typedef struct reader {
    const char *file;
    tern_error *err;
} reader;

static int damaged(const reader *r, const char *what)
{
    return tern_fail(r->err, TERN_E_USAGE,
                     "'%.100s' is a damaged plan: %s: make it again with `tern plan --save`",
                     r->file, what);
}

/* Index of a word in a list, -1 for another one. */
static int index_of(const json_t *word, const char *const *list, int n)
{
    const char *text = json_string_value(word);
    for (int i = 0; i < n && text; i++)
        if (strcmp(text, list[i]) == 0) return i;
    return -1;
}

static int number_in(int *out, const json_t *object, const char *key, int min, int max)
{
    const json_t *value = json_object_get(object, key);
    if (!json_is_integer(value) || json_integer_value(value) < min ||
        json_integer_value(value) > max)
        return 0;
    *out = (int)json_integer_value(value);
    return 1;
}

static int copy_word(char *out, size_t cap, const json_t *word)
{
    const char *text = json_string_value(word);
    if (!text || strlen(text) >= cap) return 0;
    for (const char *c = text; *c; c++)
        if ((unsigned char)*c < 0x20) return 0;
    memcpy(out, text, strlen(text) + 1);
    return 1;
}

static int read_workload(tern_plan_file *f, const json_t *root, const reader *r)
{
    const json_t *w = json_object_get(root, "workload"), *g = json_object_get(root, "goal");
    const int kv = index_of(json_object_get(w, "kv"), kv_names, 2);
    const int head = index_of(json_object_get(w, "head"), head_names, 2);
    const int objective = index_of(json_object_get(g, "objective"), objective_names, 3);
    tern_workload *out = &f->plan.workload;
    if (kv < 0 || head < 0 || objective < 0 || !number_in(&out->n_ctx, w, "ctx", 1, 1 << 24) ||
        !number_in(&out->n_seq, w, "seqs", 1, TERN_MAX_SEQ) ||
        !number_in(&out->n_tok, w, "chunk", 1, 65536) ||
        !number_in(&f->goal.n_prompt, g, "prompt", 1, 1 << 24) ||
        !number_in(&f->goal.n_out, g, "out", 1, 1 << 24))
        return damaged(r, "workload or goal lack a value or have a wrong one");
    if (out->n_tok < out->n_seq) return damaged(r, "its chunk is smaller than its seqs");
    out->kv_type = (tern_kv_type)kv;
    out->head_type = (tern_head_type)head;
    f->goal.objective = (tern_objective)objective;
    f->plan.n_pages = tern_plan_pages(out);
    return TERN_OK;
}

static int read_devices(tern_plan_file *f, const json_t *root, const reader *r)
{
    const json_t *list = json_object_get(root, "devices");
    const size_t n = json_array_size(list);
    if (n < 1 || n > TERN_PLAN_MAX_DEVICES) return damaged(r, "it has no list of 1 to 8 devices");
    for (size_t d = 0; d < n; d++) {
        const json_t *device = json_array_get(list, d),
                     *bytes = json_object_get(device, "total_bytes");
        if (!copy_word(f->plan.devices[d], sizeof f->plan.devices[d],
                       json_object_get(device, "name")) ||
            !copy_word(f->hardware[d], sizeof f->hardware[d],
                       json_object_get(device, "hardware")) ||
            !json_is_integer(bytes) || json_integer_value(bytes) < 0)
            return damaged(r, "a device lacks name, hardware or total_bytes");
        f->bytes[d] = (uint64_t)json_integer_value(bytes);
        f->absent[d] = json_is_true(json_object_get(device, "absent"));
        for (size_t i = 0; i < d; i++)
            if (strcmp(f->plan.devices[i], f->plan.devices[d]) == 0)
                return damaged(r, "a device stands twice in it");
    }
    f->plan.n_devices = (int)n;
    return TERN_OK;
}

static int device_index(const tern_plan *plan, const json_t *word)
{
    for (int d = 0; d < plan->n_devices; d++)
        if (json_string_value(word) && strcmp(json_string_value(word), plan->devices[d]) == 0)
            return d;
    return -1;
}

/* The runs must cover the layers in order, without a gap. */
static int read_runs(tern_plan_file *f, const json_t *root, const reader *r)
{
    const json_t *runs = json_object_get(root, "runs");
    tern_plan *p = &f->plan;
    for (size_t i = 0; i < json_array_size(runs); i++) {
        const json_t *run = json_array_get(runs, i);
        const int attn = device_index(p, json_object_get(run, "attn"));
        const int ffn = device_index(p, json_object_get(run, "ffn"));
        int first, last;
        if (attn < 0 || ffn < 0 || !number_in(&first, run, "first", p->n_layers, p->n_layers) ||
            !number_in(&last, run, "last", first, TERN_MAX_LAYERS - 1))
            return damaged(r, "its runs of layers leave a gap or name no device of it");
        for (; p->n_layers <= last; p->n_layers++) {
            p->attn_device[p->n_layers] = (uint8_t)attn;
            p->ffn_device[p->n_layers] = (uint8_t)ffn;
        }
    }
    const int embed = device_index(p, json_object_get(root, "embed"));
    const int head = device_index(p, json_object_get(root, "head"));
    if (p->n_layers == 0 || embed < 0 || head < 0)
        return damaged(r, "layers, embed or head have no place");
    p->embed_device = (uint8_t)embed;
    p->head_device = (uint8_t)head;
    return TERN_OK;
}

static int read_forecast(tern_plan_file *f, const json_t *root, const reader *r)
{
    const json_t *o = json_object_get(root, "forecast");
    const struct {
        const char *key;
        double *out;
    } list[] = {{"first_token_s", &f->first_token_s},
                {"step_s", &f->step_s},
                {"prefill_tok_s", &f->prefill_tok_s},
                {"decode_tok_s", &f->decode_tok_s},
                {"total_s", &f->total_s}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const json_t *value = json_object_get(o, list[i].key);
        if (!json_is_number(value) || !(json_number_value(value) > 0))
            return damaged(r, "its forecast lacks a value");
        *list[i].out = json_number_value(value);
    }
    return TERN_OK;
}

/* The plan is for these shapes, and this program would take the bytes it names. */
static int check_model(const tern_plan_file *f, const json_t *root, const tern_model_config *config,
                       const reader *r)
{
    json_t *shapes = shapes_json(config);
    const int same = shapes && json_equal(shapes, json_object_get(root, "shapes"));
    json_decref(shapes);
    if (!same || f->plan.n_layers != config->n_layers)
        return tern_fail(r->err, TERN_E_USAGE,
                         "'%.100s' is a plan for another model ('%s'), not for '%s': plan again",
                         r->file, f->model, config->name);
    if (config->tied && f->plan.embed_device != f->plan.head_device)
        return damaged(r, "embed and head of a tied table lie apart");
    tern_workload w = f->plan.workload;
    int status = tern_workload_fill(&w, config, r->err);
    for (int d = 0; d < f->plan.n_devices && status == TERN_OK; d++) {
        tern_memory memory;
        status = tern_plan_memory(&memory, &f->plan, config, d, r->err);
        if (status == TERN_OK && memory.total != f->bytes[d])
            return tern_fail(
                r->err, TERN_E_USAGE,
                "'%.100s' is stale: it says %llu bytes on %s, this program takes %llu: "
                "plan again",
                r->file, (unsigned long long)f->bytes[d], f->plan.devices[d],
                (unsigned long long)memory.total);
    }
    return status;
}

static int read_root(tern_plan_file *f, const json_t *root, const tern_model_config *config,
                     const reader *r)
{
    const json_t *version = json_object_get(root, "tern_plan");
    if (!json_is_integer(version))
        return tern_fail(r->err, TERN_E_USAGE,
                         "'%.100s' is no plan: `tern plan --save FILE` writes one", r->file);
    if (json_integer_value(version) != TERN_PLAN_VERSION)
        return tern_fail(
            r->err, TERN_E_USAGE,
            "'%.100s' has version %lld of the plans, this program reads %d: plan again", r->file,
            (long long)json_integer_value(version), TERN_PLAN_VERSION);
    if (!copy_word(f->model, sizeof f->model, json_object_get(root, "model")))
        return damaged(r, "it names no model");
    int status = read_workload(f, root, r);
    if (status == TERN_OK) status = read_devices(f, root, r);
    if (status == TERN_OK) status = read_runs(f, root, r);
    if (status == TERN_OK) status = read_forecast(f, root, r);
    return status == TERN_OK && config ? check_model(f, root, config, r) : status;
}

int tern_plan_read(tern_plan_file *out, const char *text, size_t bytes, const char *name,
                   const tern_model_config *config, tern_error *err)
{
    json_error_t problem;
    json_t *root = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &problem);
    if (!root)
        return tern_fail(err, TERN_E_USAGE, "'%.100s' is no JSON: line %d, %s", name, problem.line,
                         TERN_QUOTED(problem.text, strlen(problem.text)));
    const reader r = {name, err};
    tern_plan_file file = {0};
    const int status = read_root(&file, root, config, &r);
    json_decref(root);
    if (status == TERN_OK) *out = file;
    return status;
}
