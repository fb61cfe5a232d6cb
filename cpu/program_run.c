/* program_run.c - runs programs on the CPU: one wake-up of the threads per run, a barrier after
 * every operation. How an operation is cut among threads is decided here, attention in
 * program_attn.c, and nowhere else; kernels write only their range, so the cut never changes a
 * bit. */
#include <math.h>
#include <string.h>

#include "base/fail.h"
#include "cpu/cpu_program.h"

/* What went wrong first in a run; 0: nothing. */
enum { FAULT_NONE, FAULT_NOT_FINITE, FAULT_ID };

tern_range tern_cpu_share(const cpu_worker *w, int n, int unit)
{
    const int64_t units = (n + unit - 1) / unit;
    const int begin = (int)(units * w->thread / w->n_threads) * unit;
    const int end = (int)(units * (w->thread + 1) / w->n_threads) * unit;
    return (tern_range){begin < n ? begin : n, end < n ? end : n};
}

static void fault(cpu_worker *w, const cpu_op *op, unsigned kind)
{
    unsigned none = 0;
    const unsigned index = (unsigned)(op - w->program->ops);
    atomic_compare_exchange_strong(&w->program->fault, &none, index << 2 | kind);
}

/* An id outside the table is a fault; its token keeps what it had. */
static void run_embed(cpu_worker *w, cpu_op *op)
{
    const tern_embed_args *a = &op->u.embed;
    const tern_range tokens = tern_cpu_share(w, w->n_tok, 1);
    for (int t = tokens.begin; t < tokens.end; t++) {
        if (a->ids[t] >= 0 && a->ids[t] < op->n_vocab)
            w->kernels->embed(a, (tern_range){t, t + 1});
        else
            fault(w, op, FAULT_ID);
    }
}

static void run_linear(cpu_worker *w, cpu_op *op)
{
    const tern_range outputs = tern_cpu_share(w, op->u.linear.n_out, TERN_TILE_ROWS);
    if (outputs.begin < outputs.end && w->n_tok > 0)
        w->kernels->linear(&op->u.linear, (tern_range){0, w->n_tok}, outputs);
}

/* N7's screening. The high plane alone gives L = f32(f32(256 S) * g) with g = xs * ws, the logit of
 * a table without low plane, and T lies within 256 S +- B, B = 128 * sum |x|. So the true logit
 * lies within L +- m for m = B*g + (|L| + B*g) * 2^-20: the first term is the low plane, the second
 * exceeds the roundings of 2^-24 that both logits and the bound itself take, five in all (2^-140
 * does so for subnormals). */
static void bound_logits(const tern_head_args *a, int row, tern_range vocab, float *lower,
                         float *upper)
{
    const int16_t *x = a->xq + (size_t)row * (size_t)a->k_pad;
    const float *logits = a->logits + row * a->ld_logits;
    int64_t magnitude = 0;
    for (int i = 0; i < a->k_pad; i++) magnitude += x[i] < 0 ? -x[i] : x[i];
    const double slack = 128.0 * (double)magnitude * (double)a->xs[row];
    for (int v = vocab.begin; v < vocab.end; v++) {
        const double l = (double)logits[v], low = slack * (double)a->scale[v];
        const double margin = low + (fabs(l) + low) * 0x1p-20 + 0x1p-140;
        lower[v] = margin < INFINITY ? (float)(l - margin) : -INFINITY;
        upper[v] = margin < INFINITY ? (float)(l + margin) : INFINITY;
    }
}

/* The n best of every row of a group, the rows shared among the threads. */
static void take_top(cpu_worker *w, const cpu_op *op, const float *logits, int first, int rows)
{
    const int64_t n = op->u.head.n, n_vocab = op->u.head.args.n_vocab;
    for (int r = w->thread; r < rows; r += w->n_threads)
        w->kernels->head_top(op->u.head.top + (first + r) * n, logits + r * n_vocab, (int)n_vocab,
                             (int)n);
}

/* Computes in full what may be among the n best of row r; the rest cannot win and is put out. */
static void rescore(cpu_worker *w, const cpu_op *op, const tern_head_args *a, int first, int r)
{
    const int n = op->u.head.n;
    const float least = op->u.head.top[(int64_t)(first + r) * n + n - 1].logit; /* all reach it */
    const float *upper = op->u.head.upper + (int64_t)r * a->n_vocab;
    const tern_range vocab = tern_cpu_share(w, a->n_vocab, TERN_TILE_ROWS);
    for (int v = vocab.begin; v < vocab.end; v++)
        if (upper[v] >= least)
            w->kernels->head_logits(a, (tern_range){r, r + 1}, (tern_range){v, v + 1});
        else
            a->logits[r * a->ld_logits + v] = -INFINITY;
}

/* TOP of a table with two planes, for a group of rows: bounds from one pass over the high plane,
 * then only the rows of the table that may be among the n best are computed in full. */
static void run_head_screened(cpu_worker *w, cpu_op *op, const tern_head_args *a, int first,
                              int rows)
{
    tern_head_args high = *a;
    high.low = NULL;
    const tern_range vocab = tern_cpu_share(w, a->n_vocab, TERN_TILE_ROWS);
    w->kernels->head_logits(&high, (tern_range){0, rows}, vocab);
    for (int r = 0; r < rows; r++)
        bound_logits(a, r, vocab, op->u.head.lower + (int64_t)r * a->n_vocab,
                     op->u.head.upper + (int64_t)r * a->n_vocab);
    tern_pool_barrier(w->pool);
    take_top(w, op, op->u.head.lower, first, rows);
    tern_pool_barrier(w->pool);
    for (int r = 0; r < rows; r++) rescore(w, op, a, first, r);
    tern_pool_barrier(w->pool);
    take_top(w, op, a->logits, first, rows);
    tern_pool_barrier(w->pool);
}

/* All logits of a group of rows from one pass over the table, then what is wanted of each. */
static void run_head_whole(cpu_worker *w, cpu_op *op, const tern_head_args *a, int first, int rows)
{
    const tern_range vocab = tern_cpu_share(w, a->n_vocab, TERN_TILE_ROWS);
    w->kernels->head_logits(a, (tern_range){0, rows}, vocab);
    tern_pool_barrier(w->pool);
    if (op->u.head.n > 0) take_top(w, op, a->logits, first, rows);
    if (op->u.head.mode == TERN_HEAD_SCORE)
        for (int r = w->thread; r < rows; r += w->n_threads)
            w->kernels->head_score(&op->u.head.score[first + r], a->logits + r * a->ld_logits,
                                   a->n_vocab, w->program->batch->targets[first + r]);
    tern_pool_barrier(w->pool);
}

/* TOP and SCORE: groups of rows, each by all threads. */
static void run_head_groups(cpu_worker *w, cpu_op *op)
{
    for (int first = 0; first < w->n_rows; first += CPU_HEAD_GROUP) {
        const int left = w->n_rows - first, rows = left < CPU_HEAD_GROUP ? left : CPU_HEAD_GROUP;
        tern_head_args a = op->u.head.args;
        a.xq += (size_t)first * (size_t)a.k_pad;
        a.xs += first;
        if (op->u.head.lower)
            run_head_screened(w, op, &a, first, rows);
        else
            run_head_whole(w, op, &a, first, rows);
    }
}

static void run_head(cpu_worker *w, cpu_op *op)
{
    tern_head_args *a = &op->u.head.args;
    const tern_range rows = tern_cpu_share(w, w->n_rows, 1);
    if (w->kernels->head_quant(a, rows)) fault(w, op, FAULT_NOT_FINITE);
    tern_pool_barrier(w->pool);
    if (op->u.head.mode != TERN_HEAD_FULL) {
        run_head_groups(w, op);
        return;
    }
    const tern_range vocab = tern_cpu_share(w, a->n_vocab, TERN_TILE_ROWS);
    w->kernels->head_logits(a, (tern_range){0, w->n_rows}, vocab);
}

static void run_pick(cpu_worker *w, cpu_op *op)
{
    const int slots = op->u.pick.slots, n_vocab = op->u.pick.args.n_vocab;
    const int workers = slots < w->n_threads ? slots : w->n_threads;
    if (w->thread >= workers) return;
    tern_pick_args a = op->u.pick.args;
    a.scratch =
        op->u.pick.scratch + (size_t)w->thread * (size_t)n_vocab * TERN_PICK_SCRATCH_PER_TOKEN;
    for (int r = w->thread; r < w->n_rows; r += workers) {
        a.logits = op->u.pick.logits ? op->u.pick.logits + r * op->u.pick.ld_logits : NULL;
        a.top = op->u.pick.top ? op->u.pick.top + (int64_t)r * a.n : NULL;
        a.pick = &w->program->batch->picks[r];
        op->u.pick.ids[r] = w->kernels->pick(&a);
    }
}

static void run_copy(cpu_worker *w, cpu_op *op)
{
    const int gather = op->kind == TERN_OP_COPY_ROWS;
    const tern_range rows = tern_cpu_share(w, gather ? w->n_rows : op->u.copy.rows, 1);
    for (int r = rows.begin; r < rows.end; r++) {
        const size_t source = (size_t)(gather ? w->program->batch->rows[r] : r);
        memcpy(op->u.copy.to + (size_t)r * op->u.copy.to_step,
               op->u.copy.from + source * op->u.copy.from_step, op->u.copy.row_bytes);
    }
}

static void run_op(cpu_worker *w, cpu_op *op)
{
    const tern_cpu_kernels *k = w->kernels;
    const tern_range tokens = tern_cpu_share(w, w->n_tok, 1);
    switch (op->kind) {
    case TERN_OP_EMBED: run_embed(w, op); break;
    case TERN_OP_NORM_QUANT:
        if (k->norm_quant(&op->u.norm_quant, tokens)) fault(w, op, FAULT_NOT_FINITE);
        break;
    case TERN_OP_LINEAR: run_linear(w, op); break;
    case TERN_OP_ROPE_KV: k->rope_kv(&op->u.rope_kv, tokens); break;
    case TERN_OP_ATTN: tern_cpu_run_attn(w, op); break;
    case TERN_OP_ATTN_PART: tern_cpu_run_attn_part(w, op); break;
    case TERN_OP_ATTN_MERGE: tern_cpu_run_attn_merge(w, op); break;
    case TERN_OP_ACT_MUL:
        k->act_mul(&op->u.act_mul.args, (tern_range){0, w->n_tok},
                   tern_cpu_share(w, op->u.act_mul.f, 64));
        break;
    case TERN_OP_NORM: k->norm(&op->u.norm, tokens); break;
    case TERN_OP_ADD: k->add(&op->u.add, tokens); break;
    case TERN_OP_POOL: k->pool(&op->u.pool, tern_cpu_share(w, w->program->batch->n_seq, 1)); break;
    case TERN_OP_HEAD: run_head(w, op); break;
    case TERN_OP_PICK: run_pick(w, op); break;
    case TERN_OP_COPY_2D:
    case TERN_OP_COPY_ROWS: run_copy(w, op); break;
    case TERN_N_OPS: break;
    }
}

static void run_thread(void *arg, int thread)
{
    cpu_program *program = arg;
    tern_cpu_device *cpu = (tern_cpu_device *)program->base.device;
    tern_float_env_set();
    cpu_worker w = {
        .program = program, .kernels = &cpu->kernels, .pool = cpu->pool,
        .scratch = cpu->thread_scratch + (size_t)thread * TERN_THREAD_SCRATCH_BYTES,
        .thread = thread, .n_threads = tern_pool_threads(cpu->pool),
        .n_tok = program->batch->n_tok, .n_rows = program->batch->n_rows,
    };
    for (int i = 0; i < program->n_ops; i++) {
        run_op(&w, &program->ops[i]);
        if (i + 1 < program->n_ops) tern_pool_barrier(cpu->pool);
    }
}

/* The batch's arrays into the operations that read them. */
static void set_batch(cpu_program *program, const tern_batch *batch)
{
    program->batch = batch;
    for (int i = 0; i < program->n_ops; i++) {
        cpu_op *op = &program->ops[i];
        tern_kv_view *view = NULL;
        if (op->kind == TERN_OP_ROPE_KV) view = &op->u.rope_kv.view;
        if (op->kind == TERN_OP_ATTN || op->kind == TERN_OP_ATTN_PART) view = &op->u.attn.args.view;
        if (view) {
            view->pos = batch->pos;
            view->seq = batch->seq;
            view->table = batch->pages;
            view->table_ld = batch->pages_ld;
        }
        if (op->kind == TERN_OP_HEAD) op->u.head.args.rows = batch->rows;
        if (op->kind == TERN_OP_POOL) {
            op->u.pool.seq = batch->seq;
            op->u.pool.n_tok = batch->n_tok;
        }
    }
}

int tern_cpu_program_run(tern_program *base, tern_stream *stream, const tern_batch *batch,
                         tern_error *err)
{
    (void)err;
    cpu_program *program = (cpu_program *)base;
    if (stream->sticky.status != TERN_OK) return TERN_OK; /* comes back at the next sync */
    set_batch(program, batch);
    atomic_store(&program->fault, 0);
    tern_pool_run(((tern_cpu_device *)base->device)->pool, run_thread, program);
    const unsigned found = atomic_load(&program->fault);
    if (found == 0) return TERN_OK;
    const cpu_op *op = &program->ops[found >> 2];
    if ((found & 3) == FAULT_ID)
        tern_stream_fault_id(stream, op->kind, op->n_vocab);
    else
        tern_stream_fault_not_finite(stream, op->kind, op->layer);
    return TERN_OK;
}
