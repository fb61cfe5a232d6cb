/* check_program.c - programs of the checking device: one program of one operation after the other,
 * on both sides, and after each the spans that it wrote are compared. Quantised activations have a
 * private layout, so a wrong one shows in the LINEAR that reads it. Slow, and honest about it. */
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "device/check_device.h"

typedef struct check_program {
    tern_program base;
    tern_op *ops; /* as given: their spans lie in check_buffers */
    tern_program **side[SIDES]; /* [n_ops] */
    int n_ops;
} check_program;

/* Operands of an operation: spans read and written, the one weight, the one pool. */
enum { MAX_SPANS = 6 };
typedef struct operands {
    tern_span *spans[MAX_SPANS];
    const char *written[MAX_SPANS]; /* name of a span that the operation writes; NULL: it reads */
    int n;
    const tern_weight **weight;
    tern_kv_pool *pool;
} operands;

static void add(operands *o, tern_span *span, const char *written)
{
    o->spans[o->n] = span;
    o->written[o->n++] = written;
}

static void attention_operands(operands *o, tern_op *op)
{
    if (op->kind == TERN_OP_ROPE_KV) {
        add(o, &op->u.rope_kv.qkv, "qkv");
        add(o, &op->u.rope_kv.rope, NULL);
        add(o, &op->u.rope_kv.q_gain, NULL);
        add(o, &op->u.rope_kv.k_gain, NULL);
        o->pool = &op->u.rope_kv.pool;
    } else if (op->kind == TERN_OP_ATTN) {
        add(o, &op->u.attn.q, NULL);
        add(o, &op->u.attn.o, "o");
        o->pool = &op->u.attn.pool;
    } else if (op->kind == TERN_OP_ATTN_PART) {
        add(o, &op->u.attn_part.q, NULL);
        add(o, &op->u.attn_part.parts, "parts");
        o->pool = &op->u.attn_part.pool;
    } else {
        add(o, &op->u.attn_merge.parts, NULL);
        add(o, &op->u.attn_merge.o, "o");
    }
}

static void head_operands(operands *o, tern_op *op)
{
    if (op->kind == TERN_OP_HEAD) {
        add(o, &op->u.head.x, NULL);
        add(o, &op->u.head.gain, NULL);
        add(o, &op->u.head.logits, "logits");
        add(o, &op->u.head.top, "top");
        add(o, &op->u.head.score, "score");
        o->weight = &op->u.head.table;
    } else {
        add(o, &op->u.pick.logits, NULL);
        add(o, &op->u.pick.top, NULL);
        add(o, &op->u.pick.ids, "ids");
    }
}

static void row_operands(operands *o, tern_op *op)
{
    switch (op->kind) {
    case TERN_OP_NORM:
        add(o, &op->u.norm.x, NULL);
        add(o, &op->u.norm.gain, NULL);
        add(o, &op->u.norm.y, "y");
        break;
    case TERN_OP_ADD:
        add(o, &op->u.add.a, NULL);
        add(o, &op->u.add.b, NULL);
        add(o, &op->u.add.y, "y");
        break;
    case TERN_OP_ACT_MUL:
        add(o, &op->u.act_mul.gate, NULL);
        add(o, &op->u.act_mul.up, NULL);
        add(o, &op->u.act_mul.y, "y");
        break;
    case TERN_OP_POOL:
        add(o, &op->u.pool.x, NULL);
        add(o, &op->u.pool.y, "y");
        break;
    default:
        add(o, &op->u.copy.from, NULL);
        add(o, &op->u.copy.to, "to");
        break;
    }
}

static operands operands_of(tern_op *op)
{
    operands o = {.n = 0};
    switch (op->kind) {
    case TERN_OP_EMBED:
        add(&o, &op->u.embed.ids, NULL);
        add(&o, &op->u.embed.x, "x");
        o.weight = &op->u.embed.table;
        break;
    case TERN_OP_NORM_QUANT:
        add(&o, &op->u.norm_quant.x, NULL);
        add(&o, &op->u.norm_quant.gain, NULL);
        add(&o, &op->u.norm_quant.q, NULL); /* private to each side */
        break;
    case TERN_OP_LINEAR:
        add(&o, &op->u.linear.q, NULL);
        add(&o, &op->u.linear.y, "y");
        o.weight = &op->u.linear.weight;
        break;
    case TERN_OP_ROPE_KV:
    case TERN_OP_ATTN:
    case TERN_OP_ATTN_PART:
    case TERN_OP_ATTN_MERGE: attention_operands(&o, op); break;
    case TERN_OP_HEAD:
    case TERN_OP_PICK: head_operands(&o, op); break;
    default: row_operands(&o, op); break;
    }
    return o;
}

/* The operation with the buffers and the weight of one side. */
static tern_op op_of_side(const tern_op *op, int side)
{
    tern_op one = *op;
    const operands o = operands_of(&one);
    for (int i = 0; i < o.n; i++)
        if (o.spans[i]->buffer)
            o.spans[i]->buffer = ((check_buffer *)o.spans[i]->buffer)->side[side];
    if (o.weight) *o.weight = ((const check_weight *)*o.weight)->side[side];
    if (o.pool) o.pool->buffer = ((check_buffer *)o.pool->buffer)->side[side];
    return one;
}

size_t tern_check_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits)
{
    (void)ops;
    (void)n_ops;
    (void)limits;
    return 0; /* the two sides account for their own */
}

void tern_check_program_destroy(tern_program *base)
{
    check_program *program = (check_program *)base;
    for (int i = 0; i < SIDES; i++) {
        for (int o = 0; o < program->n_ops && program->side[i]; o++)
            tern_program_destroy(program->side[i][o]);
        free(program->side[i]);
    }
    free(program->ops);
    free(program);
}

int tern_check_program_create(tern_program **out, tern_device *device, const tern_op *ops,
                              int n_ops, const tern_batch_limits *limits, tern_error *err)
{
    check_program *program;
    int status = tern_alloc(&program, 1, sizeof *program, "a program", err);
    if (status != TERN_OK) return status;
    program->n_ops = n_ops;
    status = tern_alloc(&program->ops, (size_t)n_ops, sizeof *ops, "a program", err);
    if (status == TERN_OK) memcpy(program->ops, ops, (size_t)n_ops * sizeof *ops);
    for (int i = 0; i < SIDES && status == TERN_OK; i++)
        status = tern_alloc(&program->side[i], (size_t)n_ops, sizeof(tern_program *), "a program",
                            err);
    for (int i = 0; i < SIDES; i++)
        for (int o = 0; o < n_ops && status == TERN_OK; o++) {
            const tern_op one = op_of_side(&ops[o], i);
            status = tern_program_create(&program->side[i][o], ((check_device *)device)->side[i],
                                         &one, 1, limits, err);
        }
    if (status != TERN_OK) {
        tern_check_program_destroy(&program->base);
        return status;
    }
    *out = &program->base;
    return TERN_OK;
}

/* Bytes from..from+bytes of a buffer on both sides into its host copies. */
static int fetch(check_stream *stream, check_buffer *buffer, size_t from, size_t bytes,
                 tern_error *err)
{
    int status = TERN_OK;
    for (int i = 0; i < SIDES && status == TERN_OK; i++) {
        status = tern_download(stream->side[i], buffer->host[i] + from, buffer->side[i], from,
                               bytes, err);
        if (status == TERN_OK) status = tern_stream_sync(stream->side[i], err);
    }
    return status;
}

/* The first element in which the sides differ becomes the stream's error. */
static int compare(check_stream *stream, const tern_op *op, const tern_span *span,
                   const char *name, tern_error *err)
{
    const size_t element = tern_dtype_bytes(span->type);
    const int64_t rows = span->type == TERN_OPAQUE ? 1 : span->rows;
    const size_t bytes = (size_t)((rows - 1) * span->ld + span->cols) * element;
    check_buffer *buffer = (check_buffer *)span->buffer;
    const int status = fetch(stream, buffer, span->offset_bytes, bytes, err);
    if (status != TERN_OK) return status;
    for (int64_t r = 0; r < rows; r++)
        for (int64_t c = 0; c < span->cols; c++) {
            const size_t at = span->offset_bytes + (size_t)(r * span->ld + c) * element;
            const uint8_t *got = buffer->host[GOT] + at, *cpu = buffer->host[CPU] + at;
            if (memcmp(got, cpu, element) == 0) continue;
            float values[SIDES] = {0};
            if (element == sizeof(float)) {
                memcpy(&values[GOT], got, element);
                memcpy(&values[CPU], cpu, element);
            }
            char place[TERN_PLACE_BYTES];
            tern_stream_fail(&stream->base, TERN_E_SELF_TEST,
                             "%s: %s differs from the CPU in row %lld, column %lld of '%s' (%a "
                             "instead of %a): its kernel is wrong; please report it",
                             stream->base.device->info.name,
                             tern_op_place(place, op->kind, op->layer), (long long)r, (long long)c,
                             name, (double)values[GOT], (double)values[CPU]);
            return TERN_OK;
        }
    return TERN_OK;
}

/* The whole pool of a layer: only the batch's positions are written, the rest must stay equal. */
static tern_span pool_span(const tern_kv_pool *pool)
{
    const size_t bytes = (size_t)pool->n_pages *
                         tern_kv_page_bytes(pool->type, pool->kv, pool->hd);
    return (tern_span){pool->buffer, pool->offset_bytes, 1, (int64_t)bytes, (int64_t)bytes,
                       TERN_U8};
}

static int run_op(check_program *program, check_stream *stream, int index,
                  const tern_batch *batch, tern_error *err)
{
    tern_op *op = &program->ops[index];
    for (int i = 0; i < SIDES; i++) {
        int status = tern_program_run(program->side[i][index], stream->side[i], batch, err);
        if (status == TERN_OK) status = tern_stream_sync(stream->side[i], err);
        if (status != TERN_OK) return status;
    }
    const operands o = operands_of(op);
    int status = TERN_OK;
    for (int i = 0; i < o.n && status == TERN_OK; i++)
        if (o.written[i] && o.spans[i]->buffer)
            status = compare(stream, op, o.spans[i], o.written[i], err);
    if (op->kind == TERN_OP_ROPE_KV && status == TERN_OK) {
        const tern_span pages = pool_span(o.pool);
        status = compare(stream, op, &pages, "pages", err);
    }
    return status;
}

int tern_check_program_run(tern_program *base, tern_stream *stream_base, const tern_batch *batch,
                           tern_error *err)
{
    check_program *program = (check_program *)base;
    check_stream *stream = (check_stream *)stream_base;
    tern_error why = {0};
    (void)err;
    for (int i = 0; i < program->n_ops && stream_base->sticky.status == TERN_OK; i++)
        if (run_op(program, stream, i, batch, &why) != TERN_OK)
            tern_stream_fail(stream_base, why.status, "%s", why.text);
    return TERN_OK;
}
