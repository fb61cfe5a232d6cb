/* tern/plan.h - which half-layer, KV, embedding and head goes to which device, and the bytes it
 * takes.
 *
 * Planning is pure: it reads a model's configuration and the backends' layout descriptions, calls
 * no device and loads nothing. The engine allocates exactly what tern_plan_memory() says, by the
 * same function, before its first step; tests assert planned == allocated (P3). The search for the
 * best plan, its speed and plan files are in runtime/plan/planner.h, for `tern plan`.
 */
#ifndef TERN_PLAN_H
#define TERN_PLAN_H

#include "tern/model.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_PLAN_MAX_DEVICES 8
#define TERN_MAX_SEQ 512 /* requests of one engine that run at once */

/* What is asked of the engine. KV type and head type are declared, never chosen: they change
 * logits. */
typedef struct tern_workload {
    int n_ctx;  /* positions of one request; 0: the model's */
    int n_seq;  /* requests that run at once, 1 to TERN_MAX_SEQ */
    int n_tok;  /* tokens of a step at most (prefill chunk); 0: 256 */
    tern_kv_type kv_type;
    tern_head_type head_type;
} tern_workload;

/* A placement. Device numbers index `devices`. */
typedef struct tern_plan {
    tern_workload workload; /* with the defaults filled in */
    int n_devices;
    char devices[TERN_PLAN_MAX_DEVICES][16];   /* "cpu:0", ... */
    int n_layers;
    uint8_t attn_device[TERN_MAX_LAYERS]; /* attention half with its KV */
    uint8_t ffn_device[TERN_MAX_LAYERS];  /* FFN half */
    uint8_t embed_device, head_device;         /* equal where the table is tied */
    int n_pages;                               /* KV pages of every layer */
} tern_plan;

/* Everything on the given devices (names separated by commas, "cpu:0,cpu:1"): layers in contiguous
 * equal runs, the embedding with the first run, the head with the last - or, where the table is
 * tied, both with the first. TERN_E_USAGE for unknown devices, a context or batch that is not
 * positive, or one beyond the model's. */
int tern_plan_layers(tern_plan *out, const tern_model_config *config, const char *devices,
                     const tern_workload *workload, tern_error *err);

/* Bytes that device number `device` of the plan will hold, by class: exactly what the engine
 * allocates. */
int tern_plan_memory(tern_memory *out, const tern_plan *plan, const tern_model_config *config,
                     int device, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
