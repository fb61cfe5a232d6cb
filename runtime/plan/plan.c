/* plan.c - placements and their exact memory. Pure: nothing is opened, nothing is loaded. */
#include "tern/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "model/part.h"
#include "plan/plan_part.h"

int tern_workload_fill(tern_workload *w, const tern_model_config *config, tern_error *err)
{
    if (w->n_ctx == 0) w->n_ctx = config->n_ctx;
    if (w->n_seq == 0) w->n_seq = 1;
    if (w->n_tok == 0) w->n_tok = w->n_ctx < 256 ? w->n_ctx : 256;
    if (w->n_ctx < 1 || w->n_ctx > config->n_ctx)
        return tern_fail(err, TERN_E_USAGE, "a context of %d tokens: this model takes 1 to %d",
                         w->n_ctx, config->n_ctx);
    if (w->n_seq < 1 || w->n_seq > TERN_MAX_SEQ)
        return tern_fail(err, TERN_E_USAGE, "%d requests at once: use 1 to %d", w->n_seq,
                         TERN_MAX_SEQ);
    if (w->n_tok < 1 || w->n_tok > 65536)
        return tern_fail(err, TERN_E_USAGE, "%d tokens in a step: use 1 to 65536", w->n_tok);
    if (w->kv_type != TERN_KV_F16 && w->kv_type != TERN_KV_I8)
        return tern_fail(err, TERN_E_USAGE, "KV type %d is none of f16 (0) and i8 (1)",
                         (int)w->kv_type);
    if (w->head_type != TERN_HEAD_I16 && w->head_type != TERN_HEAD_I8)
        return tern_fail(err, TERN_E_USAGE, "head type %d is none of i16 (0) and i8 (1)",
                         (int)w->head_type);
    if (w->n_tok < w->n_seq) w->n_tok = w->n_seq;
    return TERN_OK;
}

/* "cpu:0,cpu:1" into names; every one of them must have a backend, and none may stand twice. */
static int split_devices(tern_plan *plan, const char *devices, tern_error *err)
{
    const char *at = devices;
    for (;;) {
        const size_t n = strcspn(at, ",");
        if (plan->n_devices == TERN_PLAN_MAX_DEVICES)
            return tern_fail(err, TERN_E_USAGE, "'%.60s' names more than %d devices", devices,
                             TERN_PLAN_MAX_DEVICES);
        char *name = plan->devices[plan->n_devices];
        const size_t cap = sizeof plan->devices[0];
        if (n == 0 || n >= cap)
            return tern_fail(err, TERN_E_USAGE,
                             "'%.60s' is no list of devices: write cpu or cpu:0,cpu:1", devices);
        snprintf(name, cap, "%.*s%s", (int)n, at, memchr(at, ':', n) ? "" : ":0");
        if (!tern_backend_find(name, err)) return TERN_E_USAGE;
        for (int i = 0; i < plan->n_devices; i++)
            if (strcmp(plan->devices[i], name) == 0)
                return tern_fail(err, TERN_E_USAGE, "the device %s stands twice in '%.60s'", name,
                                 devices);
        plan->n_devices++;
        if (!at[n]) return TERN_OK;
        at += n + 1;
    }
}

int tern_plan_layers(tern_plan *out, const tern_model_config *config, const char *devices,
                     const tern_workload *workload, tern_error *err)
{
    tern_plan plan = {.workload = *workload, .n_layers = config->n_layers};
    int status = tern_workload_fill(&plan.workload, config, err);
    if (status == TERN_OK) status = split_devices(&plan, devices, err);
    if (status != TERN_OK) return status;
    if (plan.n_devices > config->n_layers)
        return tern_fail(err, TERN_E_USAGE, "%d devices for %d layers: name fewer", plan.n_devices,
                         config->n_layers);
    for (int l = 0; l < config->n_layers; l++)
        plan.attn_device[l] = plan.ffn_device[l] = (uint8_t)(l * plan.n_devices / config->n_layers);
    plan.embed_device = 0;
    plan.head_device = (uint8_t)(config->tied ? 0 : plan.n_devices - 1);
    plan.n_pages = tern_plan_pages(&plan.workload);
    *out = plan;
    return TERN_OK;
}

int tern_plan_pages(const tern_workload *w)
{
    return (w->n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK * w->n_seq;
}

void tern_plan_part(tern_part_desc *out, const tern_plan *plan, int device)
{
    *out = (tern_part_desc){
        .embed = plan->embed_device == device,
        .head = plan->head_device == device,
        .n_ctx = plan->workload.n_ctx,
        .n_seq = plan->workload.n_seq,
        .n_tok = plan->workload.n_tok,
        .n_pages = plan->n_pages,
        .kv_type = plan->workload.kv_type,
        .head_type = plan->workload.head_type,
    };
    for (int l = 0; l < plan->n_layers; l++) {
        out->attn[l] = plan->attn_device[l] == device;
        out->ffn[l] = plan->ffn_device[l] == device;
    }
}

int tern_plan_memory(tern_memory *out, const tern_plan *plan, const tern_model_config *config,
                     int device, tern_error *err)
{
    const tern_backend *backend = tern_backend_find(plan->devices[device], err);
    if (!backend) return TERN_E_USAGE;
    tern_part_desc desc;
    tern_plan_part(&desc, plan, device);
    tern_part part;
    const int status = tern_part_layout(&part, &desc, config, backend, err);
    if (status != TERN_OK) return status;
    *out = part.memory;
    tern_part_destroy(&part);
    return TERN_OK;
}
