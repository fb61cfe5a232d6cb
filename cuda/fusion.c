/* fusion.c - neighbours that are one kernel for one token. A doubt is a no. */
#include "cuda/fusion.h"

#include "cuda/cuda_layout.h"

/* Bytes from .. end of a buffer. */
typedef struct extent {
    const tern_buffer *buffer;
    size_t from, end;
} extent;

static extent extent_of(const tern_span *s)
{
    const size_t elements = (size_t)((s->rows - 1) * s->ld + s->cols);
    return (extent){s->buffer, s->offset_bytes,
                    s->offset_bytes + elements * tern_dtype_bytes(s->type)};
}

static int overlap(extent a, extent b)
{
    return a.buffer && a.buffer == b.buffer && a.from < b.end && b.from < a.end;
}

static int meets(const tern_span *s, extent other)
{
    return overlap(extent_of(s), other);
}

static int pool_meets(const tern_kv_pool *pool, extent other)
{
    const size_t bytes = (size_t)pool->n_pages * tern_kv_page_bytes(pool->type, pool->kv, pool->hd);
    const extent pages = {pool->buffer, pool->offset_bytes, pool->offset_bytes + bytes};
    return overlap(pages, other);
}

/* Whether an operation writes there. */
static int writes(const tern_op *op, extent to)
{
    switch (op->kind) {
    case TERN_OP_EMBED: return meets(&op->u.embed.x, to);
    case TERN_OP_NORM_QUANT: return meets(&op->u.norm_quant.q, to);
    case TERN_OP_LINEAR: return meets(&op->u.linear.y, to);
    case TERN_OP_ROPE_KV:
        return meets(&op->u.rope_kv.qkv, to) || pool_meets(&op->u.rope_kv.pool, to);
    case TERN_OP_ATTN: return meets(&op->u.attn.o, to);
    case TERN_OP_ATTN_PART: return meets(&op->u.attn_part.parts, to);
    case TERN_OP_ATTN_MERGE: return meets(&op->u.attn_merge.o, to);
    case TERN_OP_ACT_MUL: return meets(&op->u.act_mul.y, to);
    case TERN_OP_NORM: return meets(&op->u.norm.y, to);
    case TERN_OP_ADD: return meets(&op->u.add.y, to);
    case TERN_OP_POOL: return meets(&op->u.pool.y, to);
    case TERN_OP_HEAD:
        return meets(&op->u.head.logits, to) || meets(&op->u.head.top, to) ||
               meets(&op->u.head.score, to);
    case TERN_OP_PICK: return meets(&op->u.pick.ids, to);
    case TERN_OP_COPY_2D:
    case TERN_OP_COPY_ROWS: return meets(&op->u.copy.to, to);
    case TERN_N_OPS: break;
    }
    return 1;
}

static int same_place(const tern_span *a, const tern_span *b)
{
    return a->buffer == b->buffer && a->offset_bytes == b->offset_bytes;
}

/* Whether an operation reads there what a step may change. */
static int reads(const tern_op *op, extent from)
{
    switch (op->kind) {
    case TERN_OP_EMBED: return meets(&op->u.embed.ids, from);
    case TERN_OP_NORM_QUANT: return meets(&op->u.norm_quant.x, from);
    case TERN_OP_LINEAR:
        return meets(&op->u.linear.q, from) ||
               (op->u.linear.accumulate && meets(&op->u.linear.y, from));
    case TERN_OP_ATTN: return meets(&op->u.attn.q, from) || pool_meets(&op->u.attn.pool, from);
    case TERN_OP_ACT_MUL:
        return meets(&op->u.act_mul.gate, from) || meets(&op->u.act_mul.up, from);
    case TERN_OP_ROPE_KV:
        return meets(&op->u.rope_kv.qkv, from) || meets(&op->u.rope_kv.rope, from);
    default: return 1; /* not what a layer is made of */
    }
}

/* Whether a LINEAR behind ops[i] writes the whole span anew before anything else reads it. */
static int written_anew(const tern_op *ops, int n_ops, int i, const tern_span *s)
{
    for (int j = i + 1; j < n_ops; j++) {
        if (reads(&ops[j], extent_of(s))) return 0;
        const tern_span *y = &ops[j].u.linear.y;
        if (ops[j].kind == TERN_OP_LINEAR && same_place(y, s) && y->ld == s->ld &&
            y->cols == s->cols)
            return 1;
    }
    return 0;
}

/* The gain is read before the kernels before this one have ended. */
static int gain_is_constant(const tern_op *ops, int n_ops, const tern_span *gain)
{
    for (int i = 0; i < n_ops && gain->buffer; i++)
        if (writes(&ops[i], extent_of(gain))) return 0;
    return 1;
}

static int linear_follows(const tern_op *ops, int n_ops, int i)
{
    const tern_op_norm_quant *norm = &ops[i].u.norm_quant;
    if (ops[i].kind != TERN_OP_NORM_QUANT || i + 1 >= n_ops) return 0;
    const tern_op_linear *linear = &ops[i + 1].u.linear;
    if (ops[i + 1].kind != TERN_OP_LINEAR || !same_place(&norm->q, &linear->q)) return 0;
    return linear->weight->desc.k == norm->x.cols && !meets(&norm->x, extent_of(&norm->q)) &&
           !meets(&norm->x, extent_of(&linear->y)) && !meets(&norm->q, extent_of(&linear->y)) &&
           gain_is_constant(ops, n_ops, &norm->gain);
}

/* gate and up are the halves of the rows of y, in whole row groups. */
static int act_follows(const tern_op *ops, int n_ops, int i)
{
    const tern_op_linear *linear = &ops[i + 1].u.linear;
    if (i + 2 >= n_ops || ops[i + 2].kind != TERN_OP_ACT_MUL) return 0;
    const tern_op_act_mul *act = &ops[i + 2].u.act_mul;
    const int64_t f = act->gate.cols;
    const tern_span up = tern_span_cols(linear->y, f, f);
    return f % TERN_CUDA_ROWS == 0 && linear->weight->desc.n_out == 2 * f &&
           same_place(&act->gate, &linear->y) && same_place(&act->up, &up) &&
           !writes(&ops[i + 2], extent_of(&linear->y)) &&
           !writes(&ops[i + 2], extent_of(&ops[i].u.norm_quant.q)) &&
           !writes(&ops[i + 2], extent_of(&ops[i].u.norm_quant.x));
}

static int same_pool(const tern_kv_pool *a, const tern_kv_pool *b)
{
    return a->buffer == b->buffer && a->offset_bytes == b->offset_bytes && a->kv == b->kv &&
           a->hd == b->hd && a->type == b->type;
}

static int attn_follows(const tern_op *ops, int n_ops, int i)
{
    const tern_op_rope_kv *rope = &ops[i].u.rope_kv;
    if (i + 1 >= n_ops || ops[i + 1].kind != TERN_OP_ATTN) return 0;
    const tern_op_attn *attn = &ops[i + 1].u.attn;
    const extent o = extent_of(&attn->o);
    return !rope->q_gain.buffer && !rope->k_gain.buffer && same_place(&rope->qkv, &attn->q) &&
           rope->h == attn->h && same_pool(&rope->pool, &attn->pool) && !meets(&rope->qkv, o) &&
           !meets(&rope->rope, o) && !pool_meets(&rope->pool, o) &&
           !pool_meets(&rope->pool, extent_of(&rope->qkv)) &&
           !pool_meets(&rope->pool, extent_of(&rope->rope)) &&
           written_anew(ops, n_ops, i + 1, &rope->qkv);
}

int tern_cuda_fused(const tern_op *ops, int n_ops, int i)
{
    if (ops[i].kind == TERN_OP_ROPE_KV) return attn_follows(ops, n_ops, i) ? 2 : 1;
    if (!linear_follows(ops, n_ops, i)) return 1;
    return act_follows(ops, n_ops, i) ? 3 : 2;
}
