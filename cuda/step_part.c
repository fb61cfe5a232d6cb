/* step_part.c - parts of a step from the operations alone. In a layer the attention half ends with
 * the quantisation of the attention's output and one LINEAR; the next NORM_QUANT begins the FFN. */
#include "cuda/step_part.h"

const char *tern_step_part_name(tern_step_part part)
{
    static const char *const names[TERN_N_PARTS] = {
        "step",         "prefill", "decode", "embed", "layer/attention",
        "layer/ffn",    "head",    "sampling", "copy", "other"};
    return names[part];
}

static int is_attention(tern_op_kind kind)
{
    return kind == TERN_OP_ROPE_KV || kind == TERN_OP_ATTN || kind == TERN_OP_ATTN_PART ||
           kind == TERN_OP_ATTN_MERGE;
}

/* The half of a layer that operation i belongs to. */
static tern_step_part half_of(const tern_op *ops, int n_ops, int i)
{
    const int layer = ops[i].layer;
    int quantised = 0;
    for (int j = i; j >= 0 && ops[j].layer == layer; j--) {
        if (is_attention(ops[j].kind)) return quantised < 2 ? TERN_PART_ATTENTION : TERN_PART_FFN;
        quantised += ops[j].kind == TERN_OP_NORM_QUANT;
    }
    for (int j = i + 1; j < n_ops && ops[j].layer == layer; j++)
        if (is_attention(ops[j].kind)) return TERN_PART_ATTENTION;
    return TERN_PART_FFN;
}

tern_step_part tern_step_part_of(const tern_op *ops, int n_ops, int i)
{
    switch (ops[i].kind) {
    case TERN_OP_EMBED: return TERN_PART_EMBED;
    case TERN_OP_HEAD: return TERN_PART_HEAD;
    case TERN_OP_PICK: return TERN_PART_SAMPLING;
    case TERN_OP_COPY_2D:
    case TERN_OP_COPY_ROWS: return TERN_PART_COPY;
    default: return ops[i].layer < 0 ? TERN_PART_OTHER : half_of(ops, n_ops, i);
    }
}

tern_step_part tern_step_part_of_batch(const tern_batch *batch)
{
    return batch->n_tok > batch->n_seq ? TERN_PART_PREFILL : TERN_PART_DECODE;
}
