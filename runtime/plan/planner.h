/* planner.h - the planner: what a model will cost on given devices, and where its parts go best.
 *
 *   site      the devices that may be used: profile and budget of each
 *   units     what one half-layer, head, crossing ... costs on each device        (cost.c)
 *   tally     how often a plan does each of these                                 (forecast.c)
 *   forecast  units times tally: time to first token, a step, the whole           (forecast.c)
 *   search    the plan of least time in a family of plans, within the budgets     (search.c)
 *   advice    the same in words, with the alternatives and the cliff              (explain.c)
 *
 * Everything here is pure: no device is called, nothing is loaded. Used by runtime/cli. */
#ifndef TERN_PLANNER_H
#define TERN_PLANNER_H

#include "plan/profile.h"
#include "tern/plan.h"

typedef enum tern_objective {
    TERN_OBJECTIVE_LATENCY,    /* prompt and answer of one request, the other sequences decoding */
    TERN_OBJECTIVE_THROUGHPUT, /* prompts and answers of all n_seq requests */
    TERN_OBJECTIVE_ENERGY,     /* joules of the same; watts that are unknown count as 1 */
} tern_objective;

/* The requests that a plan is made for. */
typedef struct tern_goal {
    int n_prompt, n_out; /* tokens of prompt and answer of each; 0: 512 and 128, or what fits */
    tern_objective objective;
} tern_goal;

/* A device that a plan may use. */
typedef struct tern_site_device {
    char name[16]; /* in plans: "cpu:0", "cuda:0" */
    int absent;    /* known by its profile only: the plan cannot run here */
    uint64_t budget_bytes;
    tern_profile profile;
} tern_site_device;

typedef struct tern_site {
    int n, host; /* host: the device whose memory is the host's; the last one without a CPU */
    tern_site_device *devices; /* [n], at most TERN_PLAN_MAX_DEVICES */
} tern_site;

/* What must lie where; device numbers of the site, -1 where the planner chooses. */
typedef struct tern_pins {
    int8_t attn[TERN_MAX_LAYERS], ffn[TERN_MAX_LAYERS];
    int8_t embed, head;
} tern_pins;

/* ---- pins, budgets: text from people -------------------------------------------------------- */

/* "blk.0-9=cuda:0,kv=host": blk, attn, ffn and kv with an optional layer or range, embed, head.
 * kv is attn: pages lie where attention is computed. attn, ffn and kv are narrower than blk and win
 * over it, whatever the order; two of one width that differ are TERN_E_USAGE, as are unknown
 * devices and layers. "host" is the site's host. NULL pins nothing. */
int tern_pins_parse(tern_pins *out, const char *text, const tern_model_config *config,
                    const tern_site *site, tern_error *err);

/* "cuda:0=6GiB,host=12GiB": sets budgets; with `reserve` the bytes are taken off. B, KiB, MiB, GiB,
 * KB, MB, GB; a number alone is bytes. NULL changes nothing. */
int tern_site_memory(tern_site *site, const char *text, int reserve, tern_error *err);

/* ---- costs ---------------------------------------------------------------------------------- */

typedef enum tern_cost_class {
    TERN_COST_LINEAR,    /* products with the ternary weights */
    TERN_COST_ATTENTION, /* over the KV */
    TERN_COST_HEAD,      /* table and choice of the token */
    TERN_COST_FLOAT,     /* norms, activation, rotation, embedding */
    TERN_COST_LATENCY,   /* operations and runs that begin */
    TERN_COST_COPY,      /* the residual stream between devices */
    TERN_N_COST_CLASSES,
} tern_cost_class;

/* "weights", "attention", ... */
const char *tern_cost_class_name(tern_cost_class cost_class);

/* Time, and the work in it, from which follows what binds. */
typedef struct tern_work {
    double ns, bytes, macs, fmas;
} tern_work;

typedef struct tern_cost {
    tern_work of[TERN_N_COST_CLASSES];
} tern_cost;

double tern_cost_ns(const tern_cost *cost);
void tern_cost_add(tern_cost *to, const tern_cost *cost, double times);

/* What binds a work on a device: "memory", "int8", "f32" or "latency", and which part of the
 * profile's rate it reaches. */
const char *tern_work_binds(double *reach, const tern_work *work, const tern_profile *profile);

/* One step: n_tok tokens of one sequence from position `first` on (a chunk of a prompt), or one
 * token of each of n_seq sequences at that position. n_rows go through the head. */
typedef struct tern_step {
    int n_tok, n_seq, n_rows, first;
} tern_step;

/* Positions that the tokens of a step attend to, on average. */
double tern_mean_context(const tern_step *step);

/* What a device does for each of these in one step or more. */
typedef struct tern_units {
    tern_cost attn, ffn, embed, head;
    tern_cost launch, enter, leave; /* a run of half-layers begins; x comes in; x goes out */
} tern_units;

/* Adds the costs of `times` steps. */
void tern_units_add(tern_units *units, const tern_profile *profile, const tern_model_config *config,
                    const tern_workload *workload, const tern_step *step, double times);

/* Of all prompt chunks of one request behind its n_cached tokens, and of the n_out - 1 decode steps
 * of n_seq requests. */
void tern_units_prefill(tern_units *units, const tern_profile *profile,
                        const tern_model_config *config, const tern_workload *workload,
                        int n_cached, int n_prompt);
void tern_units_decode(tern_units *units, const tern_profile *profile,
                       const tern_model_config *config, const tern_workload *workload,
                       const tern_goal *goal);

/* ---- forecasts ------------------------------------------------------------------------------ */

typedef struct tern_forecast {
    double first_token_s; /* prefill of one prompt */
    double step_s;        /* a decode step of n_seq tokens, at the middle of the answer */
    double total_s;       /* by the goal's objective */
    double prefill_tok_s, decode_tok_s;       /* decode: of all sequences together */
    double joules;                            /* of all requests; 0 where watts are unknown */
    tern_cost prefill[TERN_PLAN_MAX_DEVICES]; /* by device of the plan */
    tern_cost step[TERN_PLAN_MAX_DEVICES];
} tern_forecast;

/* Goal with its defaults, and with prompt and answer that fit into the context. */
tern_goal tern_goal_fill(const tern_goal *goal, const tern_workload *workload);

/* TERN_E_USAGE when the plan names a device that the site lacks. */
int tern_plan_forecast(tern_forecast *out, const tern_plan *plan, const tern_model_config *config,
                       const tern_site *site, const tern_goal *goal, tern_error *err);

/* Seconds of a prompt of n tokens, the first n_cached of which are computed already (with the first
 * token of the answer); of a decode step at a depth. */
double tern_forecast_prefill_s(const tern_plan *plan, const tern_model_config *config,
                               const tern_site *site, int n_cached, int n_prompt);
double tern_forecast_step_s(const tern_plan *plan, const tern_model_config *config,
                            const tern_site *site, int n_seq, int depth);

/* ---- the search ----------------------------------------------------------------------------- */

/* The plan of least time (or energy) among those that fit, in this family: every device but the
 * host holds one run of whole layers, in the order of the site; the last of them may also hold the
 * attention halves, or the FFN halves, of the layers that follow, the host holding the other half;
 * the host has the rest. Every device takes that last place in turn. The head lies anywhere, the
 * embedding with it or on the host; pins overrule the family. Devices without a part are left out
 * of the plan. Within the family the answer is exact (tests compare with brute force).
 * Zero n_ctx: the model's, or as much of it as fits (the plan's workload tells). TERN_E_FIT when
 * nothing fits, with the smallest change that would. */
int tern_plan_search(tern_plan *out, const tern_model_config *config, const tern_workload *workload,
                     const tern_site *site, const tern_pins *pins, const tern_goal *goal,
                     tern_error *err);

/* ---- in words ------------------------------------------------------------------------------- */

/* A plan with what belongs to it, for reports. */
typedef struct tern_report {
    const tern_model_config *config;
    const tern_site *site;
    const tern_pins *pins;
    tern_goal goal; /* filled in */
    tern_plan plan;
    tern_forecast forecast;
    tern_memory memory[TERN_PLAN_MAX_DEVICES];
} tern_report;

/* Fills in forecast and memory of the plan that is there. */
int tern_report_fill(tern_report *report, tern_error *err);

/* One line: places, bytes, speed. */
#define TERN_PLAN_LINE_BYTES 400
const char *tern_plan_line(char out[TERN_PLAN_LINE_BYTES], const tern_report *report);

/* Placement, memory, speed, warnings; with `explain` also where the time goes, what binds, rejected
 * alternatives and the cliff. The caller frees the text. */
int tern_plan_text(char **text, const tern_report *report, int explain, tern_error *err);

/* ---- plan files ----------------------------------------------------------------------------- */

#define TERN_PLAN_VERSION 1

/* A plan as a file holds it. */
typedef struct tern_plan_file {
    tern_plan plan;
    tern_goal goal;
    char model[64];
    char hardware[TERN_PLAN_MAX_DEVICES][64];
    int absent[TERN_PLAN_MAX_DEVICES];
    uint64_t bytes[TERN_PLAN_MAX_DEVICES];
    double first_token_s, step_s, prefill_tok_s, decode_tok_s, total_s;
} tern_plan_file;

/* The plan, its bytes and its forecast as JSON; the caller frees it. */
int tern_plan_write(char **text, const tern_report *report, tern_error *err);

/* Reads such a text. With a configuration, a plan for other shapes or one whose bytes are no longer
 * what this program takes is TERN_E_USAGE, like everything else that is wrong with the file;
 * without one (NULL) only the file itself is checked. */
int tern_plan_read(tern_plan_file *out, const char *text, size_t bytes, const char *name,
                   const tern_model_config *config, tern_error *err);

/* Number of the site's device with that name, -1 without one. */
int tern_site_find(const tern_site *site, const char *name);

#endif
