/* op_check.c - the operands of an operation and the indices of a batch, checked once for every
 * backend, so that no kernel ever meets a span outside its buffer or a page that does not exist. */
#include <limits.h>
#include <math.h>

#include "base/fail.h"
#include "base/memory.h"
#include "device/backend.h"

/* One operation under examination. The checks return 0 after having made the sentence. */
typedef struct checker {
    const tern_op *op;
    const tern_device *device;
    const tern_batch_limits *limits;
    tern_error *err;
} checker;

static int refuse(const checker *c, const char *operand, const char *why)
{
    char place[TERN_PLACE_BYTES];
    tern_fail(c->err, TERN_E_USAGE, "%s: operand '%s' %s",
              tern_op_place(place, c->op->kind, c->op->layer), operand, why);
    return 0;
}

static int inside(const checker *c, const char *name, const tern_buffer *buffer, size_t offset,
                  size_t bytes)
{
    if (!buffer) return refuse(c, name, "is missing");
    if (buffer->device != c->device) return refuse(c, name, "lies on another device");
    size_t end;
    if (!tern_size_add(&end, offset, bytes) || end > buffer->bytes)
        return refuse(c, name, "leaves its buffer");
    return 1;
}

/* A span of at least `rows` rows of exactly `cols` columns. */
static int span(const checker *c, const char *name, const tern_span *s, int64_t rows, int64_t cols,
                tern_dtype type)
{
    if (s->type != type) return refuse(c, name, "has another element type");
    if (s->cols != cols || s->rows < rows || s->ld < s->cols || rows < 0 || cols <= 0)
        return refuse(c, name, "has another shape");
    const size_t element = tern_dtype_bytes(type);
    if (s->offset_bytes % element != 0) return refuse(c, name, "is misaligned");
    if (rows == 0) return 1;
    size_t values;
    if (!tern_size_mul(&values, (size_t)(s->rows - 1), (size_t)s->ld) ||
        !tern_size_add(&values, values, (size_t)s->cols) ||
        !tern_size_mul(&values, values, element))
        return refuse(c, name, "has another shape");
    return inside(c, name, s->buffer, s->offset_bytes, values);
}

static int opaque(const checker *c, const char *name, const tern_span *s, size_t bytes)
{
    if (s->type != TERN_OPAQUE) return refuse(c, name, "has another element type");
    if (s->offset_bytes % 64 != 0) return refuse(c, name, "is misaligned");
    return inside(c, name, s->buffer, s->offset_bytes, bytes);
}

static int row(const checker *c, const char *name, const tern_span *s, int64_t cols)
{
    return span(c, name, s, 1, cols, TERN_F32);
}

static int optional_row(const checker *c, const char *name, const tern_span *s, int64_t cols)
{
    return !s->buffer || row(c, name, s, cols);
}

static int tokens(const checker *c, const char *name, const tern_span *s, int64_t cols)
{
    return span(c, name, s, c->limits->n_tok, cols, TERN_F32);
}

static int eps_is_positive(const checker *c, float eps)
{
    return (eps > 0.0f && isfinite(eps)) || refuse(c, "eps", "is no positive number");
}

static int weight(const checker *c, const char *name, const tern_weight *w, int table)
{
    if (!w) return refuse(c, name, "is missing");
    if (!w->buffer || w->buffer->device != c->device)
        return refuse(c, name, "lies on another device");
    if ((w->desc.use == TERN_USE_TABLE) != table) return refuse(c, name, "is of another kind");
    return 1;
}

static int pool(const checker *c, const tern_kv_pool *p, int h)
{
    if (p->type != TERN_KV_F16 && p->type != TERN_KV_I8)
        return refuse(c, "pool", "has another element type");
    if (p->kv <= 0 || p->hd <= 0 || p->hd > TERN_MAX_HD || p->hd % 4 != 0 || h <= 0 ||
        h % p->kv != 0 || p->n_pages <= 0)
        return refuse(c, "pool", "has another shape");
    size_t bytes;
    if (p->offset_bytes % 64 != 0 ||
        !tern_size_mul(&bytes, (size_t)p->n_pages, tern_kv_page_bytes(p->type, p->kv, p->hd)))
        return refuse(c, "pool", "is misaligned");
    return inside(c, "pool", p->buffer, p->offset_bytes, bytes);
}

static int check_embed(const checker *c, const tern_op_embed *o)
{
    return weight(c, "table", o->table, 1) &&
           span(c, "ids", &o->ids, c->limits->n_tok, 1, TERN_S32) &&
           tokens(c, "x", &o->x, o->table->desc.k);
}

static int check_norm_quant(const checker *c, const tern_op_norm_quant *o)
{
    const int k = (int)o->x.cols;
    if (o->gain.buffer && !eps_is_positive(c, o->eps)) return 0;
    return tokens(c, "x", &o->x, k) && optional_row(c, "gain", &o->gain, k) &&
           opaque(c, "q", &o->q, c->device->backend->quant_bytes(c->limits->n_tok, k));
}

static int check_linear(const checker *c, const tern_op_linear *o)
{
    if (!weight(c, "weight", o->weight, 0)) return 0;
    const size_t bytes = c->device->backend->quant_bytes(c->limits->n_tok, o->weight->desc.k);
    return opaque(c, "q", &o->q, bytes) && tokens(c, "y", &o->y, o->weight->desc.n_out);
}

static int check_rope_kv(const checker *c, const tern_op_rope_kv *o)
{
    const int64_t hd = o->pool.hd, heads = (int64_t)o->h + 2 * (int64_t)o->pool.kv;
    if ((o->q_gain.buffer || o->k_gain.buffer) && !eps_is_positive(c, o->eps)) return 0;
    return pool(c, &o->pool, o->h) && tokens(c, "qkv", &o->qkv, heads * hd) &&
           span(c, "rope", &o->rope, c->limits->n_ctx, hd, TERN_F32) &&
           optional_row(c, "q_gain", &o->q_gain, hd) && optional_row(c, "k_gain", &o->k_gain, hd);
}

static int check_attn(const checker *c, const tern_op_attn *o)
{
    const int64_t cols = (int64_t)o->h * o->pool.hd;
    return pool(c, &o->pool, o->h) && tokens(c, "q", &o->q, cols) && tokens(c, "o", &o->o, cols);
}

/* Room for the states of every group of 512 positions that the context can have. */
static int check_parts(const checker *c, const tern_span *parts, int h, int n_groups, int hd)
{
    if ((int64_t)n_groups * TERN_GROUP_PAGES * TERN_PAGE_TOK < c->limits->n_ctx)
        return refuse(c, "parts", "has too few groups for the context");
    return span(c, "parts", parts, (int64_t)c->limits->n_tok * h * n_groups, hd + 2, TERN_F32);
}

static int check_attn_part(const checker *c, const tern_op_attn_part *o)
{
    return pool(c, &o->pool, o->h) && tokens(c, "q", &o->q, (int64_t)o->h * o->pool.hd) &&
           check_parts(c, &o->parts, o->h, o->n_groups, o->pool.hd);
}

static int check_attn_merge(const checker *c, const tern_op_attn_merge *o)
{
    if (o->h <= 0 || o->o.cols % o->h != 0 || o->o.cols / o->h > TERN_MAX_HD)
        return refuse(c, "o", "has another shape");
    return tokens(c, "o", &o->o, o->o.cols) &&
           check_parts(c, &o->parts, o->h, o->n_groups, (int)(o->o.cols / o->h));
}

static int check_act_mul(const checker *c, const tern_op_act_mul *o)
{
    if (o->act != TERN_ACT_RELU2 && o->act != TERN_ACT_SILU && o->act != TERN_ACT_GELU_TANH)
        return refuse(c, "act", "is unknown");
    return tokens(c, "gate", &o->gate, o->gate.cols) && tokens(c, "up", &o->up, o->gate.cols) &&
           tokens(c, "y", &o->y, o->gate.cols);
}

static int check_norm(const checker *c, const tern_op_norm *o)
{
    return tokens(c, "x", &o->x, o->x.cols) && row(c, "gain", &o->gain, o->x.cols) &&
           tokens(c, "y", &o->y, o->x.cols) && eps_is_positive(c, o->eps);
}

static int check_pool(const checker *c, const tern_op_pool *o)
{
    if (o->pooling != TERN_POOL_MEAN && o->pooling != TERN_POOL_LAST)
        return refuse(c, "pooling", "is unknown");
    return tokens(c, "x", &o->x, o->x.cols) &&
           span(c, "y", &o->y, c->limits->n_seq, o->x.cols, TERN_F32);
}

static int check_head(const checker *c, const tern_op_head *o)
{
    if (!weight(c, "table", o->table, 1)) return 0;
    const int d = o->table->desc.k, n_vocab = o->table->desc.n_out, rows = c->limits->n_rows;
    if (o->mode != TERN_HEAD_FULL && o->mode != TERN_HEAD_TOP && o->mode != TERN_HEAD_SCORE)
        return refuse(c, "mode", "is unknown");
    if (!tokens(c, "x", &o->x, d) || !row(c, "gain", &o->gain, d) || !eps_is_positive(c, o->eps))
        return 0;
    if (o->mode == TERN_HEAD_FULL) {
        if (rows > TERN_HEAD_MAX_ROWS) return refuse(c, "logits", "would hold more than 64 rows");
        return span(c, "logits", &o->logits, rows, n_vocab, TERN_F32);
    }
    if (o->n < 0 || o->n > n_vocab || (o->mode == TERN_HEAD_TOP && o->n == 0))
        return refuse(c, "n", "is outside the vocabulary");
    if (o->n > 0 &&
        !opaque(c, "top", &o->top, (size_t)rows * (size_t)o->n * sizeof(tern_candidate)))
        return 0;
    return o->mode == TERN_HEAD_TOP ||
           opaque(c, "score", &o->score, (size_t)rows * sizeof(tern_score));
}

static int check_pick(const checker *c, const tern_op_pick *o)
{
    const int rows = c->limits->n_rows;
    if (o->n_vocab <= 0 || (!o->logits.buffer && o->n <= 0))
        return refuse(c, "logits", "is missing");
    if (!o->logits.buffer && o->n > o->n_vocab) /* the scratch holds n_vocab candidates */
        return refuse(c, "n", "is outside the vocabulary");
    if (!span(c, "ids", &o->ids, rows, 1, TERN_S32)) return 0;
    if (o->logits.buffer) return span(c, "logits", &o->logits, rows, o->n_vocab, TERN_F32);
    return opaque(c, "top", &o->top, (size_t)rows * (size_t)o->n * sizeof(tern_candidate));
}

static int check_copy(const checker *c, const tern_op_copy *o, int64_t from_rows, int64_t to_rows)
{
    return span(c, "from", &o->from, from_rows, o->from.cols, o->from.type) &&
           span(c, "to", &o->to, to_rows, o->from.cols, o->from.type);
}

static int check(const checker *c)
{
    const tern_op *op = c->op;
    const int n_tok = c->limits->n_tok;
    switch (op->kind) {
    case TERN_OP_EMBED: return check_embed(c, &op->u.embed);
    case TERN_OP_NORM_QUANT: return check_norm_quant(c, &op->u.norm_quant);
    case TERN_OP_LINEAR: return check_linear(c, &op->u.linear);
    case TERN_OP_ROPE_KV: return check_rope_kv(c, &op->u.rope_kv);
    case TERN_OP_ATTN: return check_attn(c, &op->u.attn);
    case TERN_OP_ATTN_PART: return check_attn_part(c, &op->u.attn_part);
    case TERN_OP_ATTN_MERGE: return check_attn_merge(c, &op->u.attn_merge);
    case TERN_OP_ACT_MUL: return check_act_mul(c, &op->u.act_mul);
    case TERN_OP_NORM: return check_norm(c, &op->u.norm);
    case TERN_OP_ADD: {
        const tern_op_add *o = &op->u.add;
        return tokens(c, "a", &o->a, o->y.cols) && tokens(c, "b", &o->b, o->y.cols) &&
               tokens(c, "y", &o->y, o->y.cols);
    }
    case TERN_OP_POOL: return check_pool(c, &op->u.pool);
    case TERN_OP_HEAD: return check_head(c, &op->u.head);
    case TERN_OP_PICK: return check_pick(c, &op->u.pick);
    case TERN_OP_COPY_2D:
        return check_copy(c, &op->u.copy, op->u.copy.from.rows, op->u.copy.from.rows);
    case TERN_OP_COPY_ROWS: return check_copy(c, &op->u.copy, n_tok, c->limits->n_rows);
    case TERN_N_OPS: break;
    }
    return refuse(c, "kind", "is unknown");
}

int tern_op_check(const tern_op *op, const tern_device *device, const tern_batch_limits *limits,
                  tern_error *err)
{
    const checker c = {op, device, limits, err};
    return check(&c) ? TERN_OK : TERN_E_USAGE;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

void tern_program_needs(tern_program *program, const tern_op *ops, int n_ops)
{
    program->n_pages = program->n_vocab = INT_MAX;
    program->needs_pick = program->needs_target = 0;
    for (int i = 0; i < n_ops; i++) {
        const tern_op *op = &ops[i];
        if (op->kind == TERN_OP_ROPE_KV)
            program->n_pages = least(program->n_pages, op->u.rope_kv.pool.n_pages);
        else if (op->kind == TERN_OP_ATTN)
            program->n_pages = least(program->n_pages, op->u.attn.pool.n_pages);
        else if (op->kind == TERN_OP_ATTN_PART)
            program->n_pages = least(program->n_pages, op->u.attn_part.pool.n_pages);
        else if (op->kind == TERN_OP_HEAD) {
            program->n_vocab = least(program->n_vocab, op->u.head.table->desc.n_out);
            program->needs_target |= op->u.head.mode == TERN_HEAD_SCORE;
        } else if (op->kind == TERN_OP_PICK) {
            program->n_vocab = least(program->n_vocab, op->u.pick.n_vocab);
            program->needs_pick = 1;
        }
    }
}

/* The pages of one sequence up to position `pos`. */
static int check_pages(const tern_program *program, const tern_batch *batch, int seq, int pos,
                       tern_error *err)
{
    const int last = pos / TERN_PAGE_TOK;
    if (last >= batch->pages_ld)
        return tern_fail(err, TERN_E_USAGE, "sequence %d of the batch lacks page %d", seq, last);
    for (int p = 0; p <= last; p++) {
        const int page = batch->pages[(int64_t)seq * batch->pages_ld + p];
        if (page < 0 || page >= program->n_pages)
            return tern_fail(err, TERN_E_USAGE, "sequence %d of the batch names page %d of %d", seq,
                             page, program->n_pages);
    }
    return TERN_OK;
}

/* Positions and sequences of every token, and pages once per sequence. */
static int check_tokens(const tern_program *program, const tern_batch *batch, tern_error *err)
{
    int farthest = -1; /* of the sequence so far */
    for (int t = 0; t < batch->n_tok; t++) {
        const int pos = batch->pos[t], seq = batch->seq[t];
        if (pos < 0 || pos >= program->limits.n_ctx)
            return tern_fail(err, TERN_E_USAGE,
                             "token %d of the batch has position %d of a context of %d", t, pos,
                             program->limits.n_ctx);
        if (seq < 0 || seq >= batch->n_seq || (t > 0 && seq < batch->seq[t - 1]))
            return tern_fail(err, TERN_E_USAGE,
                             "token %d of the batch belongs to sequence %d of %d", t, seq,
                             batch->n_seq);
        farthest = pos > farthest ? pos : farthest;
        if (t + 1 < batch->n_tok && batch->seq[t + 1] == seq) continue;
        const int status =
            program->n_pages == INT_MAX ? TERN_OK : check_pages(program, batch, seq, farthest, err);
        if (status != TERN_OK) return status;
        farthest = -1;
    }
    return TERN_OK;
}

/* Every array that the program will read is there. */
static int check_arrays(const tern_program *program, const tern_batch *batch, tern_error *err)
{
    const char *lacks = NULL;
    if (batch->n_tok > 0 && program->n_pages != INT_MAX && !batch->pages) lacks = "table of pages";
    if (batch->n_tok > 0 && (!batch->pos || !batch->seq)) lacks = "positions or sequences";
    if (batch->n_rows > 0 && program->needs_target && !batch->targets) lacks = "targets";
    if (batch->n_rows > 0 && program->needs_pick && !batch->picks) lacks = "sampling parameters";
    if (batch->n_rows > 0 && !batch->rows) lacks = "rows";
    if (!lacks) return TERN_OK;
    return tern_fail(err, TERN_E_USAGE, "the batch has no %s", lacks);
}

int tern_batch_check(const tern_program *program, const tern_batch *batch, tern_error *err)
{
    const tern_batch_limits *limits = &program->limits;
    if (batch->n_tok < 0 || batch->n_tok > limits->n_tok || batch->n_seq < 0 ||
        batch->n_seq > limits->n_seq || batch->n_rows < 0 || batch->n_rows > limits->n_rows)
        return tern_fail(
            err, TERN_E_USAGE,
            "a batch of %d tokens, %d sequences and %d rows exceeds the program's %d, %d, %d",
            batch->n_tok, batch->n_seq, batch->n_rows, limits->n_tok, limits->n_seq,
            limits->n_rows);
    int status = check_arrays(program, batch, err);
    if (status == TERN_OK) status = check_tokens(program, batch, err);
    if (status != TERN_OK) return status;
    for (int r = 0; r < batch->n_rows; r++) {
        if (batch->rows[r] < 0 || batch->rows[r] >= batch->n_tok)
            return tern_fail(err, TERN_E_USAGE, "row %d of the batch names token %d of %d", r,
                             batch->rows[r], batch->n_tok);
        if (program->needs_target &&
            (batch->targets[r] < 0 || batch->targets[r] >= program->n_vocab))
            return tern_fail(err, TERN_E_USAGE, "row %d of the batch scores token id %d of %d", r,
                             batch->targets[r], program->n_vocab);
    }
    return TERN_OK;
}
