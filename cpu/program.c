/* program.c - builds programs on the CPU: spans resolved to pointers once, scratch sized by the
 * limits. */
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "cpu/cpu_program.h"

/* PICK works on at most this many rows at once, each in a scratch of its own. */
#define PICK_SLOTS 4

/* ---- scratch -------------------------------------------------------------------------------- */

/* Parts of the scratch of a HEAD: quantised rows, their scales, logits of a group of rows (TOP,
 * SCORE) and their two bounds (TOP of a table with a low plane, which is screened). */
typedef struct head_scratch {
    size_t xs, logits, lower, upper, bytes;
} head_scratch;

/* Only the I16 tables have a second plane to save. */
static int is_screened(const tern_op_head *op)
{
    return op->mode == TERN_HEAD_TOP && op->table->desc.head_type == TERN_HEAD_I16;
}

static head_scratch head_scratch_of(const tern_op_head *op, int n_rows)
{
    const size_t rows = (size_t)n_rows, k_pad = (size_t)tern_pad_k(op->table->desc.k);
    head_scratch s;
    s.xs = rows * k_pad * sizeof(int16_t);
    s.logits = s.xs + tern_round_up(rows * sizeof(float), 64);
    const size_t group = n_rows < CPU_HEAD_GROUP ? rows : CPU_HEAD_GROUP;
    const size_t vocab = tern_round_up(group * (size_t)op->table->desc.n_out * sizeof(float), 64);
    s.lower = s.logits + (op->mode == TERN_HEAD_FULL ? 0 : vocab);
    s.upper = s.lower + (is_screened(op) ? vocab : 0);
    s.bytes = s.upper + (is_screened(op) ? vocab : 0);
    return s;
}

static int pick_slots(int n_rows)
{
    return n_rows < PICK_SLOTS ? n_rows : PICK_SLOTS;
}

size_t tern_cpu_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits)
{
    size_t most = 0;
    for (int i = 0; i < n_ops; i++) {
        size_t bytes = 0;
        if (ops[i].kind == TERN_OP_HEAD)
            bytes = head_scratch_of(&ops[i].u.head, limits->n_rows).bytes;
        else if (ops[i].kind == TERN_OP_PICK)
            bytes = (size_t)pick_slots(limits->n_rows) * (size_t)ops[i].u.pick.n_vocab *
                    TERN_PICK_SCRATCH_PER_TOKEN;
        most = bytes > most ? bytes : most;
    }
    return tern_round_up(most, 64);
}

/* ---- resolving operands --------------------------------------------------------------------- */

static float *floats(const tern_span *span)
{
    return (float *)(void *)tern_cpu_at(span);
}

static tern_kv_view view_of(const tern_kv_pool *pool)
{
    return (tern_kv_view){
        .pages = ((tern_cpu_buffer *)pool->buffer)->data + pool->offset_bytes,
        .page_bytes = tern_kv_page_bytes(pool->type, pool->kv, pool->hd),
        .kv = pool->kv,
        .hd = pool->hd,
        .type = pool->type,
    };
}

static tern_attn_args attn_args_of(const tern_span *q, const tern_kv_pool *pool, int h)
{
    const double log2e = 0x1.71547652b82fep+0;
    return (tern_attn_args){
        .q = floats(q),
        .ldq = q->ld,
        .view = view_of(pool),
        .h = h,
        .c = (float)(log2e / sqrt((double)pool->hd)),
    };
}

static void bind_embed(cpu_op *to, const tern_op_embed *op)
{
    const tern_cpu_weight *w = (const tern_cpu_weight *)op->table;
    to->n_vocab = w->base.desc.n_out;
    to->u.embed = (tern_embed_args){
        .x = floats(&op->x), .ldx = op->x.ld,
        .ids = (const int32_t *)(const void *)tern_cpu_at(&op->ids),
        .high = w->high, .low = w->low, .scale = w->scale, .col = w->col,
        .d = w->base.desc.k, .k_pad = w->k_pad, .multiplier = op->multiplier,
    };
}

static void bind_norm_quant(cpu_op *to, const tern_op_norm_quant *op, int n_tok)
{
    const int k = (int)op->x.cols;
    const tern_quant_view view = tern_cpu_quant_view(tern_cpu_at(&op->q), n_tok, k);
    to->u.norm_quant = (tern_norm_quant_args){
        .q = view.q, .scale = view.scale, .sum = view.sum,
        .x = floats(&op->x), .ldx = op->x.ld, .gain = floats(&op->gain),
        .k = k, .k_pad = view.k_pad, .eps = op->eps, .subtract_mean = op->subtract_mean,
    };
}

static void bind_linear(cpu_op *to, const tern_op_linear *op, int n_tok)
{
    const tern_cpu_weight *w = (const tern_cpu_weight *)op->weight;
    const tern_quant_view view = tern_cpu_quant_view(tern_cpu_at(&op->q), n_tok, w->base.desc.k);
    to->u.linear = (tern_linear_args){
        .y = floats(&op->y), .ldy = op->y.ld,
        .q = view.q, .q_scale = view.scale, .q_sum = view.sum,
        .codes = w->codes, .w_scale = w->scale,
        .k_pad = w->k_pad, .n_out = w->base.desc.n_out, .accumulate = op->accumulate,
    };
}

static void bind_head(cpu_op *to, const tern_op_head *op, int n_rows, uint8_t *scratch)
{
    const tern_cpu_weight *w = (const tern_cpu_weight *)op->table;
    const head_scratch s = head_scratch_of(op, n_rows);
    const int full = op->mode == TERN_HEAD_FULL;
    to->u.head.args = (tern_head_args){
        .x = floats(&op->x), .ldx = op->x.ld, .gain = floats(&op->gain),
        .xq = (int16_t *)(void *)scratch, .xs = (float *)(void *)(scratch + s.xs),
        .high = w->high, .low = w->low, .scale = w->scale,
        .logits = full ? floats(&op->logits) : (float *)(void *)(scratch + s.logits),
        .ld_logits = full ? op->logits.ld : w->base.desc.n_out,
        .d = w->base.desc.k, .k_pad = w->k_pad, .n_vocab = w->base.desc.n_out, .eps = op->eps,
    };
    to->u.head.top = (tern_candidate *)(void *)tern_cpu_at(&op->top);
    to->u.head.score = (tern_score *)(void *)tern_cpu_at(&op->score);
    to->u.head.lower = is_screened(op) ? (float *)(void *)(scratch + s.lower) : NULL;
    to->u.head.upper = is_screened(op) ? (float *)(void *)(scratch + s.upper) : NULL;
    to->u.head.mode = op->mode;
    to->u.head.n = op->n;
}

static void bind_pick(cpu_op *to, const tern_op_pick *op, int n_rows, uint8_t *scratch)
{
    to->u.pick.args = (tern_pick_args){.n = op->n, .n_vocab = op->n_vocab};
    to->u.pick.logits = floats(&op->logits);
    to->u.pick.ld_logits = op->logits.ld;
    to->u.pick.top = op->logits.buffer ? NULL : (tern_candidate *)(void *)tern_cpu_at(&op->top);
    to->u.pick.ids = (int32_t *)(void *)tern_cpu_at(&op->ids);
    to->u.pick.slots = pick_slots(n_rows);
    to->u.pick.scratch = scratch;
}

static void bind_copy(cpu_op *to, const tern_op_copy *op)
{
    const size_t element = tern_dtype_bytes(op->from.type);
    to->u.copy.from = tern_cpu_at(&op->from);
    to->u.copy.to = tern_cpu_at(&op->to);
    to->u.copy.row_bytes = (size_t)op->from.cols * element;
    to->u.copy.from_step = (size_t)op->from.ld * element;
    to->u.copy.to_step = (size_t)op->to.ld * element;
    to->u.copy.rows = (int)op->from.rows;
}

static void bind_attn(cpu_op *to, const tern_op *op)
{
    if (op->kind == TERN_OP_ATTN) {
        const tern_op_attn *o = &op->u.attn;
        to->u.attn.args = attn_args_of(&o->q, &o->pool, o->h);
        to->u.attn.o = floats(&o->o);
        to->u.attn.ldo = o->o.ld;
    } else if (op->kind == TERN_OP_ATTN_PART) {
        const tern_op_attn_part *o = &op->u.attn_part;
        to->u.attn.args = attn_args_of(&o->q, &o->pool, o->h);
        to->u.attn.o = floats(&o->parts);
        to->u.attn.ldo = o->parts.ld;
        to->u.attn.n_groups = o->n_groups;
    } else {
        const tern_op_attn_merge *o = &op->u.attn_merge;
        to->u.attn_merge.parts = floats(&o->parts);
        to->u.attn_merge.ld_parts = o->parts.ld;
        to->u.attn_merge.o = floats(&o->o);
        to->u.attn_merge.ldo = o->o.ld;
        to->u.attn_merge.h = o->h;
        to->u.attn_merge.hd = (int)o->o.cols / o->h;
        to->u.attn_merge.n_groups = o->n_groups;
    }
}

/* The small row operations. */
static void bind_rows(cpu_op *to, const tern_op *op)
{
    if (op->kind == TERN_OP_NORM) {
        const tern_op_norm *o = &op->u.norm;
        to->u.norm = (tern_norm_args){.y = floats(&o->y),
                                      .x = floats(&o->x),
                                      .gain = floats(&o->gain),
                                      .ldy = o->y.ld,
                                      .ldx = o->x.ld,
                                      .n = (int)o->x.cols,
                                      .eps = o->eps};
    } else if (op->kind == TERN_OP_ADD) {
        const tern_op_add *o = &op->u.add;
        to->u.add = (tern_add_args){.y = floats(&o->y), .a = floats(&o->a), .b = floats(&o->b),
                                    .ldy = o->y.ld, .lda = o->a.ld, .ldb = o->b.ld,
                                    .n = (int)o->y.cols};
    } else if (op->kind == TERN_OP_POOL) {
        const tern_op_pool *o = &op->u.pool;
        to->u.pool = (tern_pool_args){.y = floats(&o->y), .x = floats(&o->x), .ldy = o->y.ld,
                                      .ldx = o->x.ld, .d = (int)o->x.cols, .pooling = o->pooling};
    } else {
        const tern_op_act_mul *o = &op->u.act_mul;
        to->u.act_mul.args = (tern_act_mul_args){.y = floats(&o->y), .gate = floats(&o->gate),
                                                 .up = floats(&o->up), .ldy = o->y.ld,
                                                 .ld_gate = o->gate.ld, .ld_up = o->up.ld,
                                                 .act = o->act};
        to->u.act_mul.f = (int)o->gate.cols;
    }
}

static void bind_rope_kv(cpu_op *to, const tern_op_rope_kv *op)
{
    to->u.rope_kv = (tern_rope_kv_args){
        .qkv = floats(&op->qkv), .ld = op->qkv.ld, .rope = floats(&op->rope),
        .q_gain = floats(&op->q_gain), .k_gain = floats(&op->k_gain),
        .view = view_of(&op->pool), .h = op->h, .eps = op->eps,
    };
}

static void bind(cpu_op *to, const tern_op *op, const tern_batch_limits *limits, uint8_t *scratch)
{
    to->kind = op->kind;
    to->layer = op->layer;
    switch (op->kind) {
    case TERN_OP_EMBED: bind_embed(to, &op->u.embed); break;
    case TERN_OP_NORM_QUANT: bind_norm_quant(to, &op->u.norm_quant, limits->n_tok); break;
    case TERN_OP_LINEAR: bind_linear(to, &op->u.linear, limits->n_tok); break;
    case TERN_OP_ROPE_KV: bind_rope_kv(to, &op->u.rope_kv); break;
    case TERN_OP_ATTN:
    case TERN_OP_ATTN_PART:
    case TERN_OP_ATTN_MERGE: bind_attn(to, op); break;
    case TERN_OP_ACT_MUL:
    case TERN_OP_NORM:
    case TERN_OP_ADD:
    case TERN_OP_POOL: bind_rows(to, op); break;
    case TERN_OP_HEAD: bind_head(to, &op->u.head, limits->n_rows, scratch); break;
    case TERN_OP_PICK: bind_pick(to, &op->u.pick, limits->n_rows, scratch); break;
    case TERN_OP_COPY_2D:
    case TERN_OP_COPY_ROWS: bind_copy(to, &op->u.copy); break;
    case TERN_N_OPS: break;
    }
}

/* The states of the query heads of one KV head must fit twice into a thread's scratch. */
static int check_heads(const tern_op *op, tern_error *err)
{
    const tern_kv_pool *pool = NULL;
    int h = 0;
    if (op->kind == TERN_OP_ATTN) {
        pool = &op->u.attn.pool;
        h = op->u.attn.h;
    } else if (op->kind == TERN_OP_ATTN_PART) { /* once: it folds nothing */
        pool = &op->u.attn_part.pool;
        h = op->u.attn_part.h;
    } /* ATTN_MERGE: one state of at most TERN_MAX_HD + 2 */
    if (!pool) return TERN_OK;
    const size_t states = (size_t)(h / pool->kv) * (size_t)(pool->hd + 2) * sizeof(float);
    if (2 * states <= TERN_THREAD_SCRATCH_BYTES) return TERN_OK;
    return tern_fail(err, TERN_E_USAGE,
                     "layer %d: %d query heads of size %d per KV head are too many", op->layer,
                     h / pool->kv, pool->hd);
}

int tern_cpu_program_create(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                            const tern_batch_limits *limits, tern_error *err)
{
    (void)device;
    cpu_program *program;
    int status = tern_alloc(&program, 1, sizeof *program, "a program", err);
    if (status != TERN_OK) return status;
    status = tern_alloc(&program->ops, (size_t)n_ops, sizeof *program->ops, "a program", err);
    if (status == TERN_OK)
        status = tern_alloc_aligned(&program->scratch, tern_cpu_program_bytes(ops, n_ops, limits),
                                    "the scratch of a program", err);
    for (int i = 0; i < n_ops && status == TERN_OK; i++) status = check_heads(&ops[i], err);
    if (status != TERN_OK) {
        tern_cpu_program_destroy(&program->base);
        return status;
    }
    for (int i = 0; i < n_ops; i++) bind(&program->ops[i], &ops[i], limits, program->scratch);
    program->n_ops = n_ops;
    *out = &program->base;
    return TERN_OK;
}

void tern_cpu_program_destroy(tern_program *base)
{
    cpu_program *program = (cpu_program *)base;
    free(program->scratch);
    free(program->ops);
    free(program);
}
