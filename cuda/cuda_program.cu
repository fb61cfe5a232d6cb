/* cuda_program.cu - builds programs on a GPU: spans resolved to pointers once, device memory taken
 * once, by the sizes of cuda_program_layout.h. */
#include <math.h>
#include <stdlib.h>

#include "base/fail.h"
#include "base/memory.h"
#include "cuda/cuda_program.cuh"
#include "cuda/fusion.h"

namespace TERN_GPU {

static_assert(sizeof(pick_row) == TERN_CUDA_PICK_ROW_BYTES, "cuda_program_layout.h counts it");

/* ---- views ---------------------------------------------------------------------------------- */

static float *floats(const tern_span *span)
{
    return (float *)(void *)at(span);
}

static quant_view quant_of(const tern_span *span, int n_tok, int k)
{
    uint8_t *data = at(span);
    const tern_cuda_quant_parts parts = tern_cuda_quant_parts_of(n_tok, k);
    return quant_view{(int8_t *)data + parts.q, (float *)(void *)data,
                      (int32_t *)(void *)(data + parts.sum), tern_cuda_pad_k(k)};
}

static ternary_view ternary_of(const tern_weight *base)
{
    const gpu_weight *w = (const gpu_weight *)base;
    return ternary_view{(const uint32_t *)(const void *)w->data,
                        (const float *)(const void *)(w->data + w->parts.scale), base->desc.n_out,
                        tern_cuda_pad_k(base->desc.k)};
}

static table_view table_of(const tern_weight *base)
{
    const gpu_weight *w = (const gpu_weight *)base;
    const int8_t *high = (const int8_t *)w->data;
    return table_view{high, base->desc.head_type == TERN_HEAD_I16 ? high + w->parts.low : NULL,
                      (const float *)(const void *)(w->data + w->parts.scale),
                      (const float *)(const void *)(w->data + w->parts.col), base->desc.n_out,
                      base->desc.k, tern_cuda_pad_k(base->desc.k)};
}

/* The batch's arrays are where every batch of the program is copied to. */
static kv_view kv_of(const gpu_program *program, const tern_kv_pool *pool)
{
    const uint8_t *data = program->data;
    kv_view view;
    view.pages = ((gpu_buffer *)pool->buffer)->data + pool->offset_bytes;
    view.page_bytes = tern_kv_page_bytes(pool->type, pool->kv, pool->hd);
    view.pos = (const int32_t *)(const void *)data;
    view.seq = (const int32_t *)(const void *)(data + program->parts.seq);
    view.table = (const int32_t *)(const void *)(data + program->parts.table);
    view.table_ld = program->parts.table_ld;
    view.kv = pool->kv;
    view.hd = pool->hd;
    view.type = pool->type;
    return view;
}

static const int32_t *batch_rows(const gpu_program *program)
{
    return (const int32_t *)(const void *)(program->data + program->parts.rows);
}

/* ---- operations to arguments ---------------------------------------------------------------- */

static void bind_embed(gpu_op *to, const tern_op_embed *op)
{
    embed_args *a = &to->u.embed;
    a->ids = (const int32_t *)(const void *)at(&op->ids);
    a->table = table_of(op->table);
    a->x = floats(&op->x);
    a->ldx = op->x.ld;
    a->multiplier = op->multiplier;
    a->fault.code = fault_code(to->kind, to->layer, op->table->desc.n_out);
}

static void bind_norm_quant(gpu_op *to, const tern_op_norm_quant *op, int n_tok)
{
    norm_quant_args *a = &to->u.norm_quant;
    a->x = floats(&op->x);
    a->ldx = op->x.ld;
    a->gain = floats(&op->gain);
    a->k = (int)op->x.cols;
    a->out = quant_of(&op->q, n_tok, a->k);
    a->eps = op->eps;
    a->subtract_mean = op->subtract_mean;
    a->fault.code = fault_code(to->kind, to->layer, 0);
}

static void bind_linear(gpu_op *to, const tern_op_linear *op, const gpu_program *program, int n_tok)
{
    linear_args *a = &to->u.linear;
    a->q = quant_of(&op->q, n_tok, op->weight->desc.k);
    a->w = ternary_of(op->weight);
    a->y = floats(&op->y);
    a->ldy = op->y.ld;
    a->accumulate = op->accumulate;
    a->partial = (int32_t *)(void *)(program->data + program->parts.scratch);
    a->tickets = (unsigned *)(void *)(program->data + program->parts.tickets);
}

static void bind_rope_kv(gpu_op *to, const tern_op_rope_kv *op, const gpu_program *program)
{
    rope_kv_args *a = &to->u.rope_kv;
    a->qkv = floats(&op->qkv);
    a->ld = op->qkv.ld;
    a->rope = floats(&op->rope);
    a->q_gain = floats(&op->q_gain);
    a->k_gain = floats(&op->k_gain);
    a->view = kv_of(program, &op->pool);
    a->h = op->h;
    a->eps = op->eps;
}

static void bind_attn(gpu_op *to, const tern_op *op, const gpu_program *program,
                      const tern_batch_limits *limits)
{
    const int whole = op->kind == TERN_OP_ATTN;
    const tern_span *q = whole ? &op->u.attn.q : &op->u.attn_part.q;
    const tern_kv_pool *pool = whole ? &op->u.attn.pool : &op->u.attn_part.pool;
    const double log2e = 0x1.71547652b82fep+0;
    attn_args *a = &to->u.attn;
    a->q = floats(q);
    a->ldq = q->ld;
    a->view = kv_of(program, pool);
    a->h = whole ? op->u.attn.h : op->u.attn_part.h;
    a->c = (float)(log2e / sqrt((double)pool->hd));
    if (whole) {
        a->n_groups = tern_cuda_groups(limits->n_ctx);
        a->parts = (float *)(void *)(program->data + program->parts.scratch);
        a->ld_parts = pool->hd + 2;
        a->tickets = (unsigned *)(void *)(program->data + program->parts.tickets);
        a->o = floats(&op->u.attn.o);
        a->ldo = op->u.attn.o.ld;
    } else {
        a->n_groups = op->u.attn_part.n_groups;
        a->parts = floats(&op->u.attn_part.parts);
        a->ld_parts = op->u.attn_part.parts.ld;
    }
}

static void bind_attn_merge(gpu_op *to, const tern_op_attn_merge *op, const gpu_program *program)
{
    attn_merge_args *a = &to->u.attn_merge;
    a->parts = floats(&op->parts);
    a->ld_parts = op->parts.ld;
    a->pos = (const int32_t *)(const void *)program->data;
    a->o = floats(&op->o);
    a->ldo = op->o.ld;
    a->h = op->h;
    a->hd = (int)op->o.cols / op->h;
    a->n_groups = op->n_groups;
}

static void bind_head(gpu_op *to, const tern_op_head *op, const gpu_program *program)
{
    head_args *a = &to->u.head;
    a->x = floats(&op->x);
    a->ldx = op->x.ld;
    a->gain = floats(&op->gain);
    a->rows = batch_rows(program);
    a->targets = (const int32_t *)(const void *)(program->data + program->parts.targets);
    a->table = table_of(op->table);
    a->logits = floats(&op->logits);
    a->ld_logits = op->logits.ld;
    a->top = (tern_candidate *)(void *)at(&op->top);
    a->score = (tern_score *)(void *)at(&op->score);
    a->mode = op->mode;
    a->n = op->n;
    a->eps = op->eps;
    a->scratch = program->data + program->parts.scratch;
    a->fault.code = fault_code(to->kind, to->layer, 0);
}

static void bind_pick(gpu_op *to, const tern_op_pick *op, const gpu_program *program)
{
    pick_args *a = &to->u.pick;
    a->logits = floats(&op->logits);
    a->ld_logits = op->logits.ld;
    a->top = op->logits.buffer ? NULL : (const tern_candidate *)(const void *)at(&op->top);
    a->picks = (const pick_row *)(const void *)(program->data + program->parts.picks);
    a->ids = (int32_t *)(void *)at(&op->ids);
    a->n = op->n;
    a->n_vocab = op->n_vocab;
    a->scratch = program->data + program->parts.scratch;
}

/* The small row operations. */
static void bind_rows(gpu_op *to, const tern_op *op, const gpu_program *program)
{
    if (op->kind == TERN_OP_NORM) {
        const tern_op_norm *o = &op->u.norm;
        to->u.norm = norm_args{floats(&o->x), floats(&o->gain), floats(&o->y), o->x.ld, o->y.ld, 0,
                               (int)o->x.cols, o->eps};
    } else if (op->kind == TERN_OP_ADD) {
        const tern_op_add *o = &op->u.add;
        to->u.add = add_args{floats(&o->a), floats(&o->b), floats(&o->y), o->a.ld, o->b.ld, o->y.ld,
                             0, (int)o->y.cols};
    } else if (op->kind == TERN_OP_POOL) {
        const tern_op_pool *o = &op->u.pool;
        to->u.pool = pool_args{floats(&o->x), floats(&o->y), o->x.ld, o->y.ld,
                               (const int32_t *)(const void *)(program->data + program->parts.seq),
                               0, 0, (int)o->x.cols, o->pooling};
    } else {
        const tern_op_act_mul *o = &op->u.act_mul;
        to->u.act_mul = act_mul_args{floats(&o->gate), floats(&o->up), floats(&o->y), o->gate.ld,
                                     o->up.ld, o->y.ld, 0, (int)o->gate.cols, o->act};
    }
}

static void bind_copy(gpu_op *to, const tern_op_copy *op, const gpu_program *program)
{
    const size_t element = tern_dtype_bytes(op->from.type);
    to->u.copy = copy_args{at(&op->from), at(&op->to), (size_t)op->from.ld * element,
                           (size_t)op->to.ld * element, (size_t)op->from.cols * element,
                           to->kind == TERN_OP_COPY_ROWS ? batch_rows(program) : NULL,
                           (int)op->from.rows};
}

static void bind(gpu_op *to, const tern_op *op, const gpu_program *program,
                 const tern_batch_limits *limits)
{
    to->kind = op->kind;
    to->layer = op->layer;
    switch (op->kind) {
    case TERN_OP_EMBED: bind_embed(to, &op->u.embed); break;
    case TERN_OP_NORM_QUANT: bind_norm_quant(to, &op->u.norm_quant, limits->n_tok); break;
    case TERN_OP_LINEAR: bind_linear(to, &op->u.linear, program, limits->n_tok); break;
    case TERN_OP_ROPE_KV: bind_rope_kv(to, &op->u.rope_kv, program); break;
    case TERN_OP_ATTN:
    case TERN_OP_ATTN_PART: bind_attn(to, op, program, limits); break;
    case TERN_OP_ATTN_MERGE: bind_attn_merge(to, &op->u.attn_merge, program); break;
    case TERN_OP_ACT_MUL:
    case TERN_OP_NORM:
    case TERN_OP_ADD:
    case TERN_OP_POOL: bind_rows(to, op, program); break;
    case TERN_OP_HEAD: bind_head(to, &op->u.head, program); break;
    case TERN_OP_PICK: bind_pick(to, &op->u.pick, program); break;
    case TERN_OP_COPY_2D:
    case TERN_OP_COPY_ROWS: bind_copy(to, &op->u.copy, program); break;
    case TERN_N_OPS: break;
    }
}

linear_fused_args gpu_fused_args(const gpu_op *ops)
{
    linear_fused_args a = {ops[0].u.norm_quant, ops[1].u.linear, {}};
    if (ops[0].n_fused > 2) a.act = ops[2].u.act_mul;
    return a;
}

static bool fits(const gpu_op *ops, const target &to)
{
    return ops->kind == TERN_OP_ROPE_KV ? attn_rope_fits(ops[1].u.attn)
                                        : linear_fused_fits(gpu_fused_args(ops), to);
}

static void fuse(gpu_program *program, const tern_op *ops, int n_ops, const gpu_device *device)
{
    for (int i = 0; i < n_ops; i++) {
        gpu_op *op = &program->ops[i];
        op->n_fused = device->fusion ? tern_cuda_fused(ops, n_ops, i) : 1;
        if (op->n_fused > 1 && !fits(op, device->to)) op->n_fused = 1;
    }
}

/* ---- life ----------------------------------------------------------------------------------- */

static cudaError_t take_memory(gpu_program *program, cudaStream_t setup)
{
    cudaError_t error = cudaMalloc((void **)&program->data, program->parts.bytes);
    if (error == cudaSuccess)
        error = cudaMemsetAsync(program->data, 0, program->parts.bytes, setup);
    for (int i = 0; i < BATCH_SLOTS && error == cudaSuccess; i++) {
        batch_slot *slot = &program->slots[i];
        error = cudaMallocHost((void **)&slot->host, program->parts.tickets);
        if (error == cudaSuccess)
            error = cudaEventCreateWithFlags(&slot->copied, cudaEventDisableTiming);
    }
    return error == cudaSuccess ? cudaStreamSynchronize(setup) : error;
}

int gpu_program_create(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                       const tern_batch_limits *limits, tern_error *err)
{
    gpu_program *program;
    int status = tern_alloc(&program, 1, sizeof *program, "a program", err);
    if (status != TERN_OK) return status;
    program->base.device = device;
    program->parts = tern_cuda_program_parts_of(ops, n_ops, limits);
    status = tern_alloc(&program->ops, (size_t)n_ops, sizeof *program->ops, "a program", err);
    if (status == TERN_OK) {
        cudaError_t error = enter(device);
        if (error == cudaSuccess) error = take_memory(program, ((gpu_device *)device)->setup);
        if (error == cudaErrorMemoryAllocation) cudaGetLastError(); /* not sticky: forget it */
        status = gpu_status(error, device->info.name, "the scratch of a program", err);
    }
    if (status != TERN_OK) {
        gpu_program_destroy(&program->base);
        return status;
    }
    for (int i = 0; i < n_ops; i++) {
        bind(&program->ops[i], &ops[i], program, limits);
        program->ops[i].part = tern_step_part_of(ops, n_ops, i);
    }
    fuse(program, ops, n_ops, (const gpu_device *)device);
    program->n_ops = n_ops;
    while (program->n_graph_ops < n_ops && ops[program->n_graph_ops].kind != TERN_OP_PICK)
        program->n_graph_ops++;
    *out = &program->base;
    return TERN_OK;
}

void gpu_program_destroy(tern_program *base)
{
    gpu_program *program = (gpu_program *)base;
    enter(base->device);
    for (int i = 0; i < BATCH_SLOTS; i++) {
        batch_slot *slot = &program->slots[i];
        if (slot->copied) {
            cudaEventSynchronize(slot->copied);
            cudaEventDestroy(slot->copied);
        }
        if (slot->host) cudaFreeHost(slot->host);
    }
    for (int i = 0; i < GRAPH_TOKENS; i++)
        if (program->graphs[i].exec) cudaGraphExecDestroy(program->graphs[i].exec);
    if (program->data) cudaFree(program->data); /* waits for the device */
    free(program->ops);
    free(program);
}

} /* namespace TERN_GPU */
