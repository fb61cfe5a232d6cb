/* calibrate_ops.c - the points of the profile's curves. Every point is a program of one operation
 * repeated, so that the latency of a run hardly counts, on data that is as cold as in a step:
 * weights and KV in turn from more memory than caches hold, activations as they come. */
#include <math.h>

#include "cli/calibrate.h"

/* Where curves are measured: 0 ends a list. */
static const double linear_at[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 0};
static const double rows_at[] = {1, 2, 8, 64, 256, 0};
static const double context_at[] = {64, 512, 2048, 4096, 0};
static const double head_at[] = {1, 2, 8, 32, 0};

static const double *points_of(tern_curve_id id)
{
    if (id == TERN_CURVE_LINEAR) return linear_at;
    if (id >= TERN_CURVE_ATTN_F16_1 && id <= TERN_CURVE_CHUNK_I8_4) return context_at;
    return id >= TERN_CURVE_TOP_I16 ? head_at : rows_at;
}

static int n_points_of(tern_curve_id id)
{
    int n = 0;
    while (points_of(id)[n] > 0) n++;
    return n;
}

int cli_cal_n_points(void)
{
    int n = 0;
    for (int id = 0; id < TERN_N_CURVES; id++) n += n_points_of((tern_curve_id)id);
    return n;
}

/* First t rows are what runs; the spans keep all of theirs. */
static tern_op *set(cal_rig *rig, int i, tern_op_kind kind)
{
    rig->ops[i] = (tern_op){.kind = kind, .layer = -1};
    return &rig->ops[i];
}

static void set_norm_quant(cal_rig *rig, int i, tern_span x)
{
    set(rig, i, TERN_OP_NORM_QUANT)->u.norm_quant = (tern_op_norm_quant){
        .x = x, .gain = tern_span_cols(rig->gain, 0, x.cols), .q = rig->quant, .eps = 1e-5f};
}

/* Time of n equal operations without the latencies, shared by `units`. */
static int time_units(double *ns, cal_rig *rig, int n, const int tok_rows_first[3], double units,
                      tern_error *err)
{
    double all;
    const int status =
        cli_cal_time(&all, rig, n, tok_rows_first[0], tok_rows_first[1], tok_rows_first[2], err);
    if (status == TERN_OK) *ns = fmax((all - rig->run_ns) / n - rig->op_ns, 1) / units;
    return status;
}

/* Gate-up and down in turn; few tokens pass over all pairs, many over one. */
static int measure_linear(double *ns, cal_rig *rig, int t, tern_error *err)
{
    const double weights = 3.0 * CAL_D * CAL_F;
    int pairs = (int)(6e9 / (weights * t));
    pairs = pairs < 1 ? 1 : pairs > CAL_PAIRS ? CAL_PAIRS : pairs;
    for (int i = 0; i < pairs; i++) {
        set(rig, 2 * i, TERN_OP_LINEAR)->u.linear =
            (tern_op_linear){rig->quant, rig->gate_up[i], rig->wide, 0};
        set(rig, 2 * i + 1, TERN_OP_LINEAR)->u.linear =
            (tern_op_linear){rig->quant, rig->down[i], rig->x, 0};
    }
    return time_units(ns, rig, 2 * pairs, (const int[3]){t, 0, 0}, weights / 2, err);
}

static tern_kv_pool pool_of(const cal_rig *rig, tern_kv_type type, int kv, size_t offset)
{
    return (tern_kv_pool){rig->kv, offset, CAL_CTX / TERN_PAGE_TOK, kv, CAL_HD, type};
}

/* Rows of floats: NORM_QUANT, ACT_MUL, ROPE_KV, EMBED. */
static int measure_rows(double *ns, cal_rig *rig, tern_curve_id id, int t, tern_error *err)
{
    const int n = t < 16 ? 64 : 8;
    double columns = CAL_D;
    for (int i = 0; i < n; i++) {
        if (id == TERN_CURVE_NORM_QUANT) set_norm_quant(rig, i, rig->x);
        if (id == TERN_CURVE_ACT_MUL)
            set(rig, i, TERN_OP_ACT_MUL)->u.act_mul =
                (tern_op_act_mul){.gate = tern_span_cols(rig->wide, 0, CAL_F),
                                  .up = tern_span_cols(rig->wide, CAL_F, CAL_F),
                                  .y = rig->act,
                                  .act = TERN_ACT_RELU2};
        if (id == TERN_CURVE_ROPE_KV)
            set(rig, i, TERN_OP_ROPE_KV)->u.rope_kv = (tern_op_rope_kv){
                .qkv = tern_span_cols(rig->wide, 0, (CAL_H + 2 * CAL_KV) * CAL_HD),
                .rope = rig->rope,
                .pool = pool_of(rig, TERN_KV_F16, CAL_KV, 0),
                .h = CAL_H,
                .eps = 1e-5f};
        if (id == TERN_CURVE_EMBED)
            set(rig, i, TERN_OP_EMBED)->u.embed =
                (tern_op_embed){rig->ids, rig->table[0], rig->x, 1.0f};
    }
    if (id == TERN_CURVE_ACT_MUL) columns = CAL_F;
    if (id == TERN_CURVE_ROPE_KV) columns = (CAL_H + 2 * CAL_KV) * CAL_HD;
    return time_units(ns, rig, n, (const int[3]){t, 0, 0}, columns, err);
}

/* One KV head a thread, read by one query head or four; pools in turn, so that decoding finds them
 * cold. A chunk of 64 tokens reads them again and again. */
static int measure_attention(double *ns, cal_rig *rig, tern_curve_id id, int context,
                             tern_error *err)
{
    const int at = (int)(id - TERN_CURVE_ATTN_F16_1), chunk = at >= 4, four = at % 2;
    const tern_kv_type type = at / 2 % 2 ? TERN_KV_I8 : TERN_KV_F16;
    const int kv = rig->n_threads, h = four ? 4 * kv : kv, t = chunk ? 64 : 1;
    const size_t bytes = tern_kv_page_bytes(type, kv, CAL_HD) * (CAL_CTX / TERN_PAGE_TOK);
    int n = (int)(CAL_KV_BYTES / bytes);
    n = n < 1 ? 1 : n > 64 ? 64 : n;
    if (chunk && n > 4) n = 4;
    for (int i = 0; i < n; i++)
        set(rig, i, TERN_OP_ATTN)->u.attn =
            (tern_op_attn){.q = tern_span_cols(rig->heads, 0, h * CAL_HD),
                           .pool = pool_of(rig, type, kv, (size_t)i * bytes),
                           .o = tern_span_cols(rig->heads, 0, h * CAL_HD),
                           .h = h};
    for (int i = 0; i < n; i++) { /* q and o may not be the same rows */
        rig->ops[i].u.attn.q.rows = rig->ops[i].u.attn.o.rows = CAL_TOK;
        rig->ops[i].u.attn.o.offset_bytes +=
            (size_t)CAL_TOK * (size_t)rig->heads.ld * sizeof(float);
    }
    const tern_step step = {t, 1, 0, context - t};
    const int status =
        time_units(ns, rig, n, (const int[3]){t, 0, context - t}, (double)t * CAL_HD, err);
    if (status == TERN_OK) *ns *= context / tern_mean_context(&step);
    return status;
}

/* HEAD for some rows and the 64 best of each. */
static int measure_head(double *ns, cal_rig *rig, tern_curve_id id, int rows, tern_error *err)
{
    set(rig, 0, TERN_OP_HEAD)->u.head =
        (tern_op_head){.x = rig->x,
                       .gain = tern_span_cols(rig->gain, 0, CAL_D),
                       .table = rig->table[id == TERN_CURVE_TOP_I8],
                       .top = rig->top,
                       .mode = TERN_HEAD_TOP,
                       .n = CAL_TOP,
                       .eps = 1e-5f};
    return time_units(ns, rig, 1, (const int[3]){rows, rows, 0}, (double)CAL_VOCAB * CAL_D, err);
}

int cli_cal_point(double *ns, tern_curve_id *curve, double *at, cal_rig *rig, int i,
                  tern_error *err)
{
    int id = 0;
    while (i >= n_points_of((tern_curve_id)id)) i -= n_points_of((tern_curve_id)id++);
    *curve = (tern_curve_id)id;
    *at = points_of(*curve)[i];
    const int n = (int)*at;
    if (id == TERN_CURVE_LINEAR) return measure_linear(ns, rig, n, err);
    if (id <= TERN_CURVE_EMBED) return measure_rows(ns, rig, *curve, n, err);
    if (id <= TERN_CURVE_CHUNK_I8_4) return measure_attention(ns, rig, *curve, n, err);
    return measure_head(ns, rig, *curve, n, err);
}
