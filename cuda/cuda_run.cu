/* cuda_run.cu - runs programs on a GPU: the batch goes to the device in one copy from pinned
 * memory, then every operation is launched in its stream, or, for a small decode step, one graph of
 * them. Nothing is allocated but a graph, at the second run of its size, and nothing waits but for
 * the slot of the run before the last one. */
#include <string.h>

#include "cuda/cuda_program.cuh"
#include "cuda/nvtx.cuh"

namespace TERN_GPU {

/* A run under way. */
struct run {
    gpu_program *program;
    gpu_stream *stream;
    const tern_batch *batch;
    target to;
    batch_slot *slot;
    size_t lists_used; /* bytes of the lists' region that rows of PICK have taken */
    int picked;        /* a PICK has been issued: the slot's rows and lists may be on their way */
};

/* ---- the batch ------------------------------------------------------------------------------ */

static void put(uint8_t *host, size_t offset, const void *from, int n)
{
    if (from && n > 0) memcpy(host + offset, from, (size_t)n * sizeof(int32_t));
}

/* The arrays of the batch, and of the block table the columns that the program has. */
static cudaError_t copy_batch(run *r)
{
    const tern_cuda_program_parts *parts = &r->program->parts;
    const tern_batch *b = r->batch;
    uint8_t *host = r->slot->host;
    put(host, 0, b->pos, b->n_tok);
    put(host, parts->seq, b->seq, b->n_tok);
    put(host, parts->rows, b->rows, b->n_rows);
    put(host, parts->targets, b->targets, b->n_rows);
    const int ld = parts->table_ld;
    const int cols = b->pages_ld < ld ? b->pages_ld : ld;
    if (b->pages)
        for (int s = 0; s < b->n_seq; s++)
            put(host, parts->table + (size_t)s * (size_t)ld * sizeof(int32_t),
                b->pages + (size_t)s * (size_t)b->pages_ld, cols);
    const size_t bytes = parts->table + (size_t)b->n_seq * (size_t)ld * sizeof(int32_t);
    return cudaMemcpyAsync(r->program->data, host, bytes, cudaMemcpyHostToDevice, r->to.stream);
}

/* ---- PICK ----------------------------------------------------------------------------------- */

/* Bytes that the lists of a row take. */
static size_t lists_of(const tern_pick *p, int n_vocab)
{
    const size_t entries = 2 * ((size_t)p->n_bias + (size_t)p->n_counts);
    return entries * sizeof(int32_t) + (p->mask ? ((size_t)n_vocab + 31) / 32 * 4 : 0);
}

/* Copies n words of a list into the slot; returns where the device will find them. */
static const void *put_list(run *r, const void *from, size_t n)
{
    const size_t offset = r->program->parts.lists + r->lists_used;
    memcpy(r->slot->host + offset, from, n * 4);
    r->lists_used += n * 4;
    return r->program->data + offset;
}

static pick_row row_of(run *r, const tern_pick *p, int n_vocab)
{
    pick_row row = {};
    row.temperature = p->temperature;
    row.top_p = p->top_p;
    row.min_p = p->min_p;
    row.repetition = p->repetition;
    row.presence = p->presence;
    row.frequency = p->frequency;
    row.top_k = p->top_k;
    row.n_bias = p->n_bias;
    row.n_counts = p->n_counts;
    row.choice = p->choice;
    row.position = p->position;
    row.seed = p->seed;
    const size_t n_bias = (size_t)p->n_bias, n_counts = (size_t)p->n_counts;
    if (n_bias) {
        row.bias_ids = (const int32_t *)put_list(r, p->bias_ids, n_bias);
        row.bias = (const float *)put_list(r, p->bias, n_bias);
    }
    if (n_counts) {
        row.count_ids = (const int32_t *)put_list(r, p->count_ids, n_counts);
        row.counts = (const int32_t *)put_list(r, p->counts, n_counts);
    }
    if (p->mask) row.mask = (const uint32_t *)put_list(r, p->mask, ((size_t)n_vocab + 31) / 32);
    return row;
}

/* Rows first .. end of PICK, whose lists stand in the slot. */
static cudaError_t pick_rows(run *r, const pick_args *op, int first, int end)
{
    const tern_cuda_program_parts *parts = &r->program->parts;
    const size_t at_row = parts->picks + (size_t)first * sizeof(pick_row);
    uint8_t *host = r->slot->host, *data = r->program->data;
    cudaError_t error =
        cudaMemcpyAsync(data + at_row, host + at_row, (size_t)(end - first) * sizeof(pick_row),
                        cudaMemcpyHostToDevice, r->to.stream);
    if (error == cudaSuccess && r->lists_used > 0)
        error = cudaMemcpyAsync(data + parts->lists, host + parts->lists, r->lists_used,
                                cudaMemcpyHostToDevice, r->to.stream);
    if (error != cudaSuccess) return error;
    pick_args a = *op;
    a.logits = op->logits ? op->logits + first * op->ld_logits : NULL;
    a.top = op->top ? op->top + (int64_t)first * op->n : NULL;
    a.picks = op->picks + first;
    a.ids = op->ids + first;
    a.n_rows = end - first;
    return launch_pick(a, r->to);
}

/* Makes the slot's rows and lists writable again: waits for the copies of an earlier PICK. */
static cudaError_t clear_lists(run *r)
{
    r->lists_used = 0;
    return r->picked ? cudaStreamSynchronize(r->to.stream) : cudaSuccess;
}

/* The lists' region holds the rows of nearly every batch; where it does not, the rows are picked in
 * several goes. */
static cudaError_t run_pick(run *r, const pick_args *op)
{
    const tern_cuda_program_parts *parts = &r->program->parts;
    const size_t room = parts->tickets - parts->lists;
    int first = 0;
    cudaError_t error = clear_lists(r);
    r->picked = 1;
    for (int row = 0; row < r->batch->n_rows && error == cudaSuccess; row++) {
        const tern_pick *p = &r->batch->picks[row];
        if (r->lists_used + lists_of(p, op->n_vocab) > room) {
            error = pick_rows(r, op, first, row);
            if (error == cudaSuccess) error = clear_lists(r);
            if (error != cudaSuccess) return error;
            first = row;
        }
        ((pick_row *)(void *)(r->slot->host + parts->picks))[row] = row_of(r, p, op->n_vocab);
    }
    return error == cudaSuccess ? pick_rows(r, op, first, r->batch->n_rows) : error;
}

/* ---- operations ----------------------------------------------------------------------------- */

static cudaError_t run_tokens(run *r, const gpu_op *op)
{
    const int n_tok = r->batch->n_tok;
    unsigned long long *fault = r->stream->fault;
    gpu_op o = *op;
    switch (op->kind) {
    case TERN_OP_EMBED:
        o.u.embed.n_tok = n_tok;
        o.u.embed.fault.word = fault;
        return launch_embed(o.u.embed, r->to);
    case TERN_OP_NORM_QUANT:
        o.u.norm_quant.n_tok = n_tok;
        o.u.norm_quant.fault.word = fault;
        return launch_norm_quant(o.u.norm_quant, r->to);
    case TERN_OP_LINEAR: o.u.linear.n_tok = n_tok; return launch_linear(o.u.linear, r->to);
    case TERN_OP_ROPE_KV: o.u.rope_kv.n_tok = n_tok; return launch_rope_kv(o.u.rope_kv, r->to);
    case TERN_OP_ATTN: o.u.attn.n_tok = n_tok; return launch_attn(o.u.attn, r->to);
    case TERN_OP_ATTN_PART: o.u.attn.n_tok = n_tok; return launch_attn_part(o.u.attn, r->to);
    case TERN_OP_ATTN_MERGE:
        o.u.attn_merge.n_tok = n_tok;
        return launch_attn_merge(o.u.attn_merge, r->to);
    case TERN_OP_ACT_MUL: o.u.act_mul.n_tok = n_tok; return launch_act_mul(o.u.act_mul, r->to);
    case TERN_OP_NORM: o.u.norm.n_tok = n_tok; return launch_norm(o.u.norm, r->to);
    case TERN_OP_ADD: o.u.add.n_tok = n_tok; return launch_add(o.u.add, r->to);
    default: return cudaErrorInvalidValue;
    }
}

/* An operation on no rows launches nothing. */
static cudaError_t run_op(run *r, const gpu_op *op)
{
    const tern_batch *b = r->batch;
    switch (op->kind) {
    case TERN_OP_POOL: {
        pool_args a = op->u.pool;
        a.n_tok = b->n_tok;
        a.n_seq = b->n_seq;
        return b->n_seq > 0 ? launch_pool(a, r->to) : cudaSuccess;
    }
    case TERN_OP_HEAD: {
        head_args a = op->u.head;
        a.n_rows = b->n_rows;
        a.fault.word = r->stream->fault;
        return b->n_rows > 0 ? launch_head(a, r->to) : cudaSuccess;
    }
    case TERN_OP_PICK: return b->n_rows > 0 ? run_pick(r, &op->u.pick) : cudaSuccess;
    case TERN_OP_COPY_2D: return launch_copy(op->u.copy, r->to);
    case TERN_OP_COPY_ROWS: {
        copy_args a = op->u.copy;
        a.n_rows = b->n_rows;
        return b->n_rows > 0 ? launch_copy(a, r->to) : cudaSuccess;
    }
    default: return b->n_tok > 0 ? run_tokens(r, op) : cudaSuccess;
    }
}

/* Whether operations op .. op + n_fused are one kernel in this run. */
static bool is_fused(const run *r, const gpu_op *op)
{
    return op->n_fused > 1 && r->batch->n_tok == 1;
}

static cudaError_t run_fused(run *r, const gpu_op *op)
{
    if (op->kind == TERN_OP_ROPE_KV) {
        attn_args attn = op[1].u.attn;
        attn.rope = op->u.rope_kv.rope;
        attn.n_tok = 1;
        return launch_attn(attn, r->to);
    }
    linear_fused_args a = gpu_fused_args(op);
    a.norm.n_tok = a.linear.n_tok = a.act.n_tok = 1;
    a.norm.fault.word = r->stream->fault;
    return launch_linear_fused(a, r->to);
}

/* Operations first .. end, each under the range of its part of the step. *failed is the one that
 * an error belongs to. */
static cudaError_t run_ops(run *r, int first, int end, const gpu_op **failed)
{
    cudaError_t error = cudaSuccess;
    for (int i = first; i < end && error == cudaSuccess; i++) {
        const gpu_op *op = *failed = &r->program->ops[i];
        const int opens = i == first || op->part != op[-1].part || op->layer != op[-1].layer;
        if (opens && i > first) nvtx_end();
        if (opens) nvtx_begin(op->part, op->layer);
        if (is_fused(r, op)) {
            error = run_fused(r, op);
            i += op->n_fused - 1;
        } else {
            error = run_op(r, op);
        }
    }
    if (first < end) nvtx_end();
    return error;
}

/* ---- graphs --------------------------------------------------------------------------------- */

/* The place of the batch's graph; NULL where the step is launched plainly: it is not one token of
 * each sequence, or has too many, or is not the step that the graph was made of. */
static step_graph *graph_of(run *r)
{
    const tern_batch *b = r->batch;
    if (!((const gpu_device *)r->program->base.device)->graphs) return NULL;
    if (b->n_tok != b->n_seq || b->n_tok < 1 || b->n_tok > GRAPH_TOKENS) return NULL;
    step_graph *graph = &r->program->graphs[b->n_tok - 1];
    if (graph->n_runs == 0) {
        graph->n_rows = b->n_rows;
        graph->fault = r->stream->fault;
    }
    return graph->n_rows == b->n_rows && graph->fault == r->stream->fault ? graph : NULL;
}

/* Where it fails, the step and those after it are launched plainly. */
static void make_graph(run *r, step_graph *to)
{
    const gpu_op *failed;
    cudaGraph_t graph = NULL;
    cudaError_t error = cudaStreamBeginCapture(r->to.stream, cudaStreamCaptureModeThreadLocal);
    if (error == cudaSuccess) {
        error = run_ops(r, 0, r->program->n_graph_ops, &failed);
        const cudaError_t ended = cudaStreamEndCapture(r->to.stream, &graph);
        if (error == cudaSuccess) error = ended;
    }
    if (error == cudaSuccess) error = cudaGraphInstantiate(&to->exec, graph, 0);
    if (graph) cudaGraphDestroy(graph);
    if (error == cudaSuccess) return;
    to->exec = NULL;
    cudaGetLastError(); /* a sticky error comes again */
}

static cudaError_t run_before_pick(run *r, const gpu_op **failed)
{
    step_graph *graph = graph_of(r);
    if (graph && graph->n_runs < 2 && ++graph->n_runs == 2) make_graph(r, graph);
    if (!graph || !graph->exec) return run_ops(r, 0, r->program->n_graph_ops, failed);
    return cudaGraphLaunch(graph->exec, r->to.stream);
}

static cudaError_t run_step(run *r)
{
    const gpu_op *failed = NULL;
    nvtx_begin(tern_step_part_of_batch(r->batch), r->batch->n_tok);
    cudaError_t error = run_before_pick(r, &failed);
    if (error == cudaSuccess)
        error = run_ops(r, r->program->n_graph_ops, r->program->n_ops, &failed);
    nvtx_end();
    if (error == cudaSuccess) return error;
    char place[TERN_PLACE_BYTES];
    gpu_stream_error(&r->stream->base, error,
                     failed ? tern_op_place(place, failed->kind, failed->layer) : "a step");
    return error;
}

int gpu_program_run(tern_program *base, tern_stream *stream, const tern_batch *batch,
                    tern_error *err)
{
    (void)err; /* errors of execution are sticky on the stream */
    if (stream->sticky.status != TERN_OK) return TERN_OK;
    gpu_program *program = (gpu_program *)base;
    run r = {program, (gpu_stream *)stream, batch, ((gpu_device *)base->device)->to,
             &program->slots[program->next_slot], 0, 0};
    r.to.stream = r.stream->stream;
    program->next_slot = (program->next_slot + 1) % BATCH_SLOTS;
    nvtx_begin(TERN_PART_STEP, batch->n_tok);
    nvtx_begin(TERN_PART_COPY, batch->n_tok);
    cudaError_t error = enter(base->device);
    if (error == cudaSuccess) error = cudaEventSynchronize(r.slot->copied);
    if (error == cudaSuccess) error = copy_batch(&r);
    if (error != cudaSuccess) gpu_stream_error(stream, error, "the copy of a batch");
    nvtx_end();
    if (error == cudaSuccess) error = run_step(&r);
    nvtx_end();
    const cudaError_t recorded = cudaEventRecord(r.slot->copied, r.to.stream);
    if (error == cudaSuccess && recorded != cudaSuccess)
        gpu_stream_error(stream, recorded, "a step");
    return TERN_OK;
}

void gpu_stream_fault(tern_stream *stream, unsigned long long word)
{
    const tern_op_kind kind = (tern_op_kind)(word >> 2 & 63);
    if ((word & 3) == FAULT_ID)
        tern_stream_fault_id(stream, kind, (int)(word >> 24));
    else
        tern_stream_fault_not_finite(stream, kind, (int)(word >> 8 & 0xffff) - 1);
}

} /* namespace TERN_GPU */
