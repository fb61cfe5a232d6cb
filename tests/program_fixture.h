/* program_fixture.h - a small device world for tests of programs: one buffer with every operand,
 * weights with random values, and a list in which every kind of operation stands at least once. */
#ifndef TERN_TESTS_PROGRAM_FIXTURE_H
#define TERN_TESTS_PROGRAM_FIXTURE_H

#include "cases.h"
#include "device/backend.h"

/* Tails everywhere; a context of three groups of pages. */
enum {
    FX_TOK = 64, FX_SEQ = 2, FX_ROWS = 3, FX_CTX = 1100, FX_PAGES = 20, FX_LD_PAGES = 18,
    FX_D = 48, FX_H = 4, FX_KV = 2, FX_HD = 8, FX_F = 24, FX_VOCAB = 50, FX_GROUPS = 3, FX_TOP = 7,
    FX_QKV = (FX_H + 2 * FX_KV) * FX_HD, FX_O = FX_H * FX_HD, FX_BYTES = 1 << 20,
};

/* Places in the list of operations. */
enum {
    FX_EMBED, FX_NORM, FX_ADD, FX_NORM_QUANT, FX_LINEAR, FX_ROPE_KV, FX_ATTN, FX_ATTN_PART,
    FX_ATTN_MERGE, FX_QUANT_PLAIN, FX_LINEAR_ADD, FX_ACT_MUL, FX_POOL, FX_COPY_2D, FX_COPY_ROWS,
    FX_HEAD_FULL, FX_HEAD_TOP, FX_HEAD_SCORE, FX_PICK, FX_PICK_TOP, FX_N_OPS,
};

typedef struct fixture {
    tern_device *device;
    tern_buffer *memory;
    size_t used;
    tern_stream *stream;
    tern_weight *qkv_weight, *out_weight, *table;
    tern_span ids, x, normed, gain, rope, q, qkv, o, parts, merged, act, pooled, copied, gathered;
    tern_span logits, top, top_of_score, score, picked, picked_top;
    tern_kv_pool pool;
    tern_op ops[FX_N_OPS];
    int32_t pos[FX_TOK], seq[FX_TOK], pages[FX_SEQ * FX_LD_PAGES], rows[FX_ROWS], targets[FX_ROWS];
    tern_pick picks[FX_ROWS];
    int32_t id_values[FX_TOK];
    tern_batch batch;
} fixture;

static const tern_batch_limits fx_limits = {FX_TOK, FX_SEQ, FX_ROWS, FX_CTX};

static inline void fx_ok(int status)
{
    if (status != TERN_OK) abort();
}

static inline size_t fx_take(fixture *f, size_t bytes)
{
    const size_t at = f->used;
    f->used += (bytes + 63) / 64 * 64;
    if (f->used > FX_BYTES) abort();
    return at;
}

/* A span with `slack` unused columns after each row. */
static inline tern_span fx_span(fixture *f, int rows, int cols, int slack, tern_dtype type)
{
    const size_t bytes = (size_t)rows * (size_t)(cols + slack) * tern_dtype_bytes(type);
    tern_span span = tern_span_make(f->memory, fx_take(f, bytes), rows, cols, type);
    span.ld = cols + slack;
    return span;
}

static inline tern_span fx_opaque(fixture *f, size_t bytes)
{
    return tern_span_make(f->memory, fx_take(f, bytes), 1, (int64_t)bytes, TERN_OPAQUE);
}

static inline void fx_floats(fixture *f, const tern_span *span, float scale, float shift,
                             uint64_t seed)
{
    const int n = (int)span->ld * (int)span->rows;
    float *values = case_alloc((size_t)n * sizeof *values);
    case_floats(values, n, scale, &seed);
    for (int i = 0; i < n; i++) values[i] += shift;
    fx_ok(tern_upload(f->stream, span->buffer, span->offset_bytes, values,
                      (size_t)n * sizeof *values, NULL));
    free(values);
}

static inline tern_weight *fx_weight(fixture *f, const tern_weight_desc *desc)
{
    tern_weight_layout layout;
    tern_weight *weight;
    fx_ok(tern_weight_layout_of(&layout, f->device->backend, desc, NULL));
    fx_ok(tern_weight_create(&weight, f->memory, fx_take(f, layout.bytes), desc, NULL));
    return weight;
}

static inline tern_weight *fx_ternary(fixture *f, tern_weight_desc desc, uint64_t seed)
{
    tern_weight *weight = fx_weight(f, &desc);
    int8_t values[FX_QKV * FX_D];
    float scale[FX_QKV];
    for (int i = 0; i < desc.n_out * desc.k; i++) values[i] = (int8_t)case_int(&seed, -1, 1);
    for (int i = 0; i < desc.n_out; i++) scale[i] = 0.05f + case_float(&seed, 0.01f);
    uint8_t *codes = case_pack_ternary(values, desc.n_out, desc.k);
    const tern_weight_rows rows = {.rows = desc.n_out, .codes = codes, .scale = scale};
    fx_ok(tern_weight_import(weight, &rows, NULL));
    free(codes);
    return weight;
}

static inline tern_weight *fx_table(fixture *f, uint64_t seed)
{
    const tern_weight_desc desc = {.use = TERN_USE_TABLE, .k = FX_D, .n_out = FX_VOCAB};
    tern_weight *weight = fx_weight(f, &desc);
    int8_t high[FX_VOCAB * FX_D], low[FX_VOCAB * FX_D];
    float scale[FX_VOCAB], col[FX_D];
    for (int i = 0; i < FX_VOCAB * FX_D; i++) {
        high[i] = (int8_t)case_int(&seed, -127, 127);
        low[i] = (int8_t)case_int(&seed, -128, 127);
    }
    for (int i = 0; i < FX_VOCAB; i++) scale[i] = 1e-4f + case_float(&seed, 1e-5f);
    for (int i = 0; i < FX_D; i++) col[i] = i % 3 ? 1.0f : 0.5f;
    const tern_weight_rows rows = {.rows = FX_VOCAB, .high = high, .low = low, .scale = scale,
                                   .col = col};
    fx_ok(tern_weight_import(weight, &rows, NULL));
    return weight;
}

static inline void fx_operands(fixture *f, tern_kv_type kv_type)
{
    f->ids = fx_span(f, FX_TOK, 1, 0, TERN_S32);
    f->x = fx_span(f, FX_TOK, FX_D, 5, TERN_F32);
    f->normed = fx_span(f, FX_TOK, FX_D, 0, TERN_F32);
    f->gain = fx_span(f, 1, FX_D, 0, TERN_F32);
    f->rope = fx_span(f, FX_CTX, FX_HD, 0, TERN_F32);
    f->q = fx_opaque(f, f->device->backend->quant_bytes(FX_TOK, FX_D));
    f->qkv = fx_span(f, FX_TOK, FX_QKV, 3, TERN_F32);
    f->o = fx_span(f, FX_TOK, FX_O, 2, TERN_F32);
    f->parts = fx_span(f, FX_TOK * FX_H * FX_GROUPS, FX_HD + 2, 1, TERN_F32);
    f->merged = fx_span(f, FX_TOK, FX_O, 4, TERN_F32);
    f->act = fx_span(f, FX_TOK, FX_F, 0, TERN_F32);
    f->pooled = fx_span(f, FX_SEQ, FX_D, 0, TERN_F32);
    f->copied = fx_span(f, FX_TOK, FX_D, 7, TERN_F32);
    f->gathered = fx_span(f, FX_ROWS, FX_D, 1, TERN_F32);
    f->logits = fx_span(f, FX_ROWS, FX_VOCAB, 2, TERN_F32);
    f->top = fx_opaque(f, FX_ROWS * FX_TOP * sizeof(tern_candidate));
    f->top_of_score = fx_opaque(f, FX_ROWS * FX_TOP * sizeof(tern_candidate));
    f->score = fx_opaque(f, FX_ROWS * sizeof(tern_score));
    f->picked = fx_span(f, FX_ROWS, 1, 0, TERN_S32);
    f->picked_top = fx_span(f, FX_ROWS, 1, 0, TERN_S32);
    const size_t page = tern_kv_page_bytes(kv_type, FX_KV, FX_HD);
    f->pool =
        (tern_kv_pool){f->memory, fx_take(f, FX_PAGES * page), FX_PAGES, FX_KV, FX_HD, kv_type};
    fx_floats(f, &f->gain, 0.5f, 1.0f, 3);
    fx_floats(f, &f->rope, 0.7f, 0.0f, 4);
}

static inline void fx_row_ops(fixture *f)
{
    const float eps = 1e-5f;
    tern_op *ops = f->ops;
    for (int i = 0; i < FX_N_OPS; i++) ops[i].layer = i;
    ops[FX_EMBED].kind = TERN_OP_EMBED;
    ops[FX_EMBED].u.embed = (tern_op_embed){f->ids, f->table, f->x, 1.5f};
    ops[FX_NORM].kind = TERN_OP_NORM;
    ops[FX_NORM].u.norm = (tern_op_norm){f->x, f->gain, f->normed, eps};
    ops[FX_ADD].kind = TERN_OP_ADD;
    ops[FX_ADD].u.add = (tern_op_add){f->x, f->normed, f->x};
    ops[FX_NORM_QUANT].kind = TERN_OP_NORM_QUANT;
    ops[FX_NORM_QUANT].u.norm_quant = (tern_op_norm_quant){f->x, f->gain, f->q, eps, 0};
    ops[FX_LINEAR].kind = TERN_OP_LINEAR;
    ops[FX_LINEAR].u.linear = (tern_op_linear){f->q, f->qkv_weight, f->qkv, 0};
    ops[FX_QUANT_PLAIN].kind = TERN_OP_NORM_QUANT;
    ops[FX_QUANT_PLAIN].u.norm_quant = (tern_op_norm_quant){f->o, {0}, f->q, eps, 1};
    ops[FX_LINEAR_ADD].kind = TERN_OP_LINEAR;
    ops[FX_LINEAR_ADD].u.linear = (tern_op_linear){f->q, f->out_weight, f->x, 1};
    ops[FX_ACT_MUL].kind = TERN_OP_ACT_MUL;
    ops[FX_ACT_MUL].u.act_mul = (tern_op_act_mul){
        tern_span_cols(f->x, 0, FX_F), tern_span_cols(f->x, FX_F, FX_F), f->act, TERN_ACT_SILU};
    ops[FX_POOL].kind = TERN_OP_POOL;
    ops[FX_POOL].u.pool = (tern_op_pool){f->x, f->pooled, TERN_POOL_MEAN};
    ops[FX_COPY_2D].kind = TERN_OP_COPY_2D;
    ops[FX_COPY_2D].u.copy = (tern_op_copy){f->x, f->copied};
    ops[FX_COPY_ROWS].kind = TERN_OP_COPY_ROWS;
    ops[FX_COPY_ROWS].u.copy = (tern_op_copy){f->x, f->gathered};
}

static inline void fx_other_ops(fixture *f)
{
    tern_op *ops = f->ops;
    const tern_span q = tern_span_cols(f->qkv, 0, FX_O);
    ops[FX_ROPE_KV].kind = TERN_OP_ROPE_KV;
    ops[FX_ROPE_KV].u.rope_kv = (tern_op_rope_kv){
        .qkv = f->qkv, .rope = f->rope, .q_gain = tern_span_cols(f->gain, 0, FX_HD),
        .k_gain = tern_span_cols(f->gain, FX_HD, FX_HD), .pool = f->pool, .h = FX_H, .eps = 1e-5f};
    ops[FX_ATTN].kind = TERN_OP_ATTN;
    ops[FX_ATTN].u.attn = (tern_op_attn){q, f->pool, f->o, FX_H};
    ops[FX_ATTN_PART].kind = TERN_OP_ATTN_PART;
    ops[FX_ATTN_PART].u.attn_part = (tern_op_attn_part){q, f->pool, f->parts, FX_H, FX_GROUPS};
    ops[FX_ATTN_MERGE].kind = TERN_OP_ATTN_MERGE;
    ops[FX_ATTN_MERGE].u.attn_merge = (tern_op_attn_merge){f->parts, f->merged, FX_H, FX_GROUPS};
    const tern_op_head head = {.x = f->x, .gain = f->gain, .table = f->table, .eps = 1e-5f};
    for (int i = FX_HEAD_FULL; i <= FX_HEAD_SCORE; i++) {
        ops[i].kind = TERN_OP_HEAD;
        ops[i].u.head = head;
        ops[i].u.head.mode = (tern_head_mode)(TERN_HEAD_FULL + i - FX_HEAD_FULL);
        ops[i].u.head.n = i == FX_HEAD_FULL ? 0 : FX_TOP;
    }
    ops[FX_HEAD_FULL].u.head.logits = f->logits;
    ops[FX_HEAD_TOP].u.head.top = f->top;
    ops[FX_HEAD_SCORE].u.head.top = f->top_of_score;
    ops[FX_HEAD_SCORE].u.head.score = f->score;
    ops[FX_PICK].kind = ops[FX_PICK_TOP].kind = TERN_OP_PICK;
    ops[FX_PICK].u.pick =
        (tern_op_pick){.logits = f->logits, .ids = f->picked, .n_vocab = FX_VOCAB};
    ops[FX_PICK_TOP].u.pick = (tern_op_pick){.top = f->top, .ids = f->picked_top, .n = FX_TOP,
                                             .n_vocab = FX_VOCAB};
}

/* A batch of n tokens of sequence 0 from position `first` on, then one of sequence 1. */
static inline void fx_batch(fixture *f, int first, int n)
{
    uint64_t seed = 1000 + (uint64_t)first;
    for (int t = 0; t <= n; t++) {
        f->pos[t] = t < n ? first + t : first / FX_TOK;
        f->seq[t] = t == n;
        f->id_values[t] = case_int(&seed, 0, FX_VOCAB - 1);
    }
    for (int i = 0; i < FX_LD_PAGES; i++) {
        f->pages[i] = FX_PAGES - 1 - i;
        f->pages[FX_LD_PAGES + i] = 0;
    }
    f->rows[0] = n;
    f->rows[1] = 0;
    f->rows[2] = n / 2;
    for (int r = 0; r < FX_ROWS; r++) f->targets[r] = case_int(&seed, 0, FX_VOCAB - 1);
    f->picks[1] = (tern_pick){.temperature = 0.8f, .seed = 7, .position = (uint32_t)first};
    f->picks[2] = (tern_pick){.temperature = 1.1f, .top_k = 5, .seed = 8, .position = 3};
    f->batch = (tern_batch){.n_tok = n + 1, .n_seq = FX_SEQ, .n_rows = FX_ROWS, .pos = f->pos,
                            .seq = f->seq, .pages = f->pages, .pages_ld = FX_LD_PAGES,
                            .rows = f->rows, .picks = f->picks, .targets = f->targets};
    fx_ok(tern_upload(f->stream, f->ids.buffer, f->ids.offset_bytes, f->id_values,
                      sizeof f->id_values, NULL));
}

static inline fixture *fx_open(const char *name, int n_threads, tern_kv_type kv_type)
{
    fixture *f = case_alloc(sizeof *f);
    const tern_device_options options = {.n_threads = n_threads};
    fx_ok(tern_device_open(&f->device, name, &options, NULL));
    fx_ok(tern_stream_create(&f->stream, f->device, NULL));
    fx_ok(tern_buffer_create(&f->memory, f->device, FX_BYTES, NULL));
    f->qkv_weight = fx_ternary(
        f,
        (tern_weight_desc){
            .use = TERN_USE_QKV, .k = FX_D, .n_out = FX_QKV, .h = FX_H, .kv = FX_KV, .hd = FX_HD},
        1);
    f->out_weight = fx_ternary(f, (tern_weight_desc){.k = FX_O, .n_out = FX_D}, 2);
    f->table = fx_table(f, 5);
    fx_operands(f, kv_type);
    fx_row_ops(f);
    fx_other_ops(f);
    fx_batch(f, 0, 3);
    return f;
}

static inline void fx_close(fixture *f)
{
    tern_weight_destroy(f->qkv_weight);
    tern_weight_destroy(f->out_weight);
    tern_weight_destroy(f->table);
    tern_buffer_destroy(f->memory);
    tern_stream_destroy(f->stream);
    tern_device_close(f->device);
    free(f);
}

#endif
