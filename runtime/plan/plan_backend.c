/* plan_backend.c - how a CUDA device keeps weights, activations and scratch, for programs without
 * that backend: plans for hardware that is elsewhere. With the backend compiled in, its own
 * functions answer and nothing of this file is used.
 *
 * Ternary: 2-bit codes, rows and columns padded to 128, one f32 scale a row. Tables: two planes of
 * s8 (one for 8-bit heads), a scale a row, a factor a column. Activations: s8 rows padded to 128,
 * scale and sum of each. Scratch: partial sums of the widest split product, 16-bit rows, logits and
 * bounds of the head. */
#include "plan/plan_backend.h"

#include <string.h>

#include "base/memory.h"

#define PAD 128
#define ALIGN 256
#define SPLIT_TOK 16 /* tokens whose products are split along k */

static size_t padded(int n)
{
    return tern_round_up((size_t)n, PAD);
}

static int cuda_weight_layout(tern_weight_layout *out, const tern_weight_desc *desc,
                              tern_error *err)
{
    (void)err;
    const size_t rows = padded(desc->n_out), k = padded(desc->k), scales = rows * sizeof(float);
    const int two = desc->head_type == TERN_HEAD_I16;
    out->alignment = ALIGN;
    if (desc->use == TERN_USE_TABLE) {
        out->bytes = rows * k * (two ? 2 : 1) + scales + k * sizeof(float);
        out->bits = two ? 16.0f : 8.0f;
        out->name = two ? "16-bit planes" : "8-bit plane";
    } else {
        out->bytes = rows * k / 4 + scales;
        out->bits = 2.0f;
        out->name = "2-bit";
    }
    out->bytes = tern_round_up(out->bytes, ALIGN);
    return TERN_OK;
}

static size_t cuda_quant_bytes(int t, int k)
{
    const size_t tokens = tern_round_up((size_t)t, 16);
    return tern_round_up(tokens * padded(k) + 2 * tokens * sizeof(float), ALIGN);
}

static size_t head_bytes(const tern_op_head *op, int n_rows)
{
    const tern_weight_desc *table = tern_weight_describe(op->table);
    const size_t rows = (size_t)n_rows, k = padded(table->k);
    const size_t vocab = padded(table->n_out) * sizeof(float);
    const size_t lists = op->mode == TERN_HEAD_FULL ? 0 : 3 * vocab;
    return rows * (k * sizeof(int16_t) + sizeof(float)) + lists;
}

static size_t cuda_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits)
{
    size_t most = 0;
    for (int i = 0; i < n_ops; i++) {
        size_t bytes = 0;
        if (ops[i].kind == TERN_OP_HEAD)
            bytes = head_bytes(&ops[i].u.head, limits->n_rows);
        else if (ops[i].kind == TERN_OP_PICK)
            bytes = (size_t)limits->n_rows * padded(ops[i].u.pick.n_vocab) * 2 * sizeof(uint64_t);
        else if (ops[i].kind == TERN_OP_LINEAR)
            bytes = (size_t)(limits->n_tok < SPLIT_TOK ? limits->n_tok : SPLIT_TOK) *
                    padded(tern_weight_describe(ops[i].u.linear.weight)->n_out) * sizeof(int32_t);
        most = bytes > most ? bytes : most;
    }
    return tern_round_up(most, ALIGN);
}

static const tern_backend cuda_described = {
    .kind = "cuda",
    .weight_layout = cuda_weight_layout,
    .quant_bytes = cuda_quant_bytes,
    .program_bytes = cuda_program_bytes,
};

/* "cuda:0" .. "cuda:99". */
static int is_cuda(const char *name)
{
    if (strncmp(name, "cuda:", 5) != 0) return 0;
    const char *digits = name + 5;
    const size_t n = strspn(digits, "0123456789");
    return n >= 1 && n <= 2 && !digits[n] && !(digits[0] == '0' && n == 2);
}

const tern_backend *tern_plan_backend(const char *name, tern_error *err)
{
    tern_error unknown;
    const tern_backend *backend = tern_backend_find(name, &unknown);
    if (backend) return backend;
    if (is_cuda(name)) return &cuda_described;
    if (err) *err = unknown;
    return NULL;
}
