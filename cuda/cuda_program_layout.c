/* cuda_program_layout.c - sizes of a program's device memory. */
#include "cuda/cuda_program_layout.h"

#include "base/memory.h"

#define PART_ALIGNMENT 256

/* Adds a part of `bytes` at *end; returns its offset. */
static size_t place(size_t *end, size_t bytes)
{
    const size_t offset = *end;
    *end = tern_round_up(offset + bytes, PART_ALIGNMENT);
    return offset;
}

static size_t scratch_of(const tern_op *op, const tern_batch_limits *limits)
{
    switch (op->kind) {
    case TERN_OP_LINEAR: {
        const tern_weight_desc *w = &op->u.linear.weight->desc;
        return tern_cuda_linear_scratch(limits->n_tok, w->n_out, w->k);
    }
    case TERN_OP_ATTN: {
        const tern_op_attn *o = &op->u.attn;
        return tern_cuda_attn_scratch(limits->n_tok, o->h, o->pool.kv, o->pool.hd,
                                      tern_cuda_groups(limits->n_ctx));
    }
    case TERN_OP_HEAD: {
        const tern_op_head *o = &op->u.head;
        return tern_cuda_head_scratch(&o->table->desc, o->mode, o->n, limits->n_rows);
    }
    case TERN_OP_PICK: return tern_cuda_pick_scratch(limits->n_rows, op->u.pick.n_vocab);
    default: return 0;
    }
}

/* A row that lists every token: bias with ids, counts with ids, a mask. */
static size_t lists_of(const tern_op *op)
{
    const size_t n_vocab = op->kind == TERN_OP_PICK ? (size_t)op->u.pick.n_vocab : 0;
    return n_vocab * 4 * sizeof(int32_t) + (n_vocab + 31) / 32 * sizeof(uint32_t);
}

tern_cuda_program_parts tern_cuda_program_parts_of(const tern_op *ops, int n_ops,
                                                   const tern_batch_limits *limits)
{
    const size_t n_tok = (size_t)limits->n_tok, n_rows = (size_t)limits->n_rows;
    size_t lists = 0, scratch = 0, end = 0;
    for (int i = 0; i < n_ops; i++) {
        const size_t of_lists = lists_of(&ops[i]), of_scratch = scratch_of(&ops[i], limits);
        lists = of_lists > lists ? of_lists : lists;
        scratch = of_scratch > scratch ? of_scratch : scratch;
    }
    tern_cuda_program_parts parts = {0};
    parts.table_ld = (limits->n_ctx + TERN_PAGE_TOK - 1) / TERN_PAGE_TOK;
    place(&end, n_tok * sizeof(int32_t));
    parts.seq = place(&end, n_tok * sizeof(int32_t));
    parts.rows = place(&end, n_rows * sizeof(int32_t));
    parts.targets = place(&end, n_rows * sizeof(int32_t));
    parts.picks = place(&end, n_rows * TERN_CUDA_PICK_ROW_BYTES);
    parts.table = place(&end, (size_t)limits->n_seq * (size_t)parts.table_ld * sizeof(int32_t));
    parts.lists = place(&end, lists);
    parts.tickets = place(&end, TERN_CUDA_TICKETS * sizeof(unsigned));
    parts.scratch = place(&end, scratch);
    parts.bytes = end;
    return parts;
}

size_t tern_cuda_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits)
{
    return tern_cuda_program_parts_of(ops, n_ops, limits).bytes;
}
