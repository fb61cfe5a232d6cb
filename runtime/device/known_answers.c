/* known_answers.c - seeded programs over every operation that a model runs, and a hash of what they
 * must write. The hashes are those of the CPU reference (tests/test_known_answers.c). Shapes have
 * tails everywhere; one, five and forty tokens take the kernels of every batch size. */
#include "device/known_answers.h"

#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "device/backend.h"

enum {
    N_TOK = 40,
    D = 200,
    N_OUT = 117,
    H = 4,
    KV = 2,
    HD = 16,
    QKV = (H + 2 * KV) * HD,
    F = 96,
    MAX_OUT = D, /* rows of a matrix */
    N_MATRICES = 4,
    N_CTX = 640, /* two groups of pages */
    N_PAGES = N_CTX / TERN_PAGE_TOK,
    VOCAB = 150,
    N_ROWS = 3,
    N_TOP = 5,
    MEMORY_BYTES = 2 << 20,
    HOST_BYTES = 1 << 18,
};

/* A device with one buffer, and host memory to fill and read it. */
typedef struct world {
    tern_device *device;
    tern_stream *stream;
    tern_buffer *memory;
    size_t used;
    tern_weight *matrices[N_MATRICES], *table;
    int n_matrices;
    uint8_t *host; /* HOST_BYTES */
    uint64_t hash;
    tern_error *err;
    int status; /* the first failure */
    int32_t pos[N_TOK], seq[N_TOK], pages[N_PAGES], rows[N_ROWS], targets[N_ROWS];
    tern_pick picks[N_ROWS];
} world;

#define HASH_SEED 0xcbf29ce484222325u

static void check(world *w, int status)
{
    if (w->status == TERN_OK) w->status = status;
}

static size_t take(world *w, size_t bytes)
{
    const size_t at = w->used;
    w->used += tern_round_up(bytes, 256);
    return at;
}

static tern_span span(world *w, int rows, int cols, tern_dtype type)
{
    const size_t bytes = (size_t)rows * (size_t)cols * tern_dtype_bytes(type);
    return tern_span_make(w->memory, take(w, bytes), rows, cols, type);
}

static tern_span opaque(world *w, size_t bytes)
{
    return tern_span_make(w->memory, take(w, bytes), 1, (int64_t)bytes, TERN_OPAQUE);
}

/* Exact multiples of 2^-20 in [-8, 8) times 2^-shift. */
static void draw_floats(float *out, size_t n, uint32_t seed, int shift)
{
    for (size_t i = 0; i < n; i++) {
        const uint64_t random = tern_random_u64(2, seed, (uint32_t)i);
        out[i] = (float)((int32_t)(random & 0xffffff) - 0x800000) * 0x1p-20f;
        for (int s = 0; s < shift; s++) out[i] *= 0.5f;
    }
}

static void send(world *w, const tern_span *to, const void *from, size_t bytes)
{
    if (w->status == TERN_OK)
        check(w, tern_upload(w->stream, to->buffer, to->offset_bytes, from, bytes, w->err));
    if (w->status == TERN_OK) check(w, tern_stream_sync(w->stream, w->err));
}

/* A span of floats with drawn values. */
static tern_span floats(world *w, int rows, int cols, uint32_t seed, int shift)
{
    const tern_span s = span(w, rows, cols, TERN_F32);
    const size_t n = (size_t)rows * (size_t)cols;
    draw_floats((float *)(void *)w->host, n, seed, shift);
    send(w, &s, w->host, n * sizeof(float));
    return s;
}

/* Hashes the first `bytes` of a span. */
static void absorb(world *w, const tern_span *from, size_t bytes)
{
    if (w->status == TERN_OK)
        check(w,
              tern_download(w->stream, w->host, from->buffer, from->offset_bytes, bytes, w->err));
    if (w->status == TERN_OK) check(w, tern_stream_sync(w->stream, w->err));
    for (size_t i = 0; i < bytes && w->status == TERN_OK; i++)
        w->hash = (w->hash ^ w->host[i]) * 0x100000001b3u; /* FNV-1a */
}

/* Runs operations on tokens at positions first .. first+n of one sequence. */
static void run(world *w, const tern_op *ops, int n_ops, int first, int n)
{
    static const tern_batch_limits limits = {N_TOK, 1, N_ROWS, N_CTX};
    const tern_batch batch = {.n_tok = n, .n_seq = 1, .n_rows = n < N_ROWS ? n : N_ROWS,
                              .pos = w->pos, .seq = w->seq, .pages = w->pages,
                              .pages_ld = N_PAGES, .rows = w->rows, .picks = w->picks,
                              .targets = w->targets};
    for (int t = 0; t < n; t++) w->pos[t] = first + t;
    for (int r = 0; r < batch.n_rows; r++) w->rows[r] = n - 1 - r;
    if (w->status != TERN_OK) return;
    tern_program *program;
    check(w, tern_program_create(&program, w->device, ops, n_ops, &limits, w->err));
    if (w->status != TERN_OK) return;
    check(w, tern_program_run(program, w->stream, &batch, w->err));
    if (w->status == TERN_OK) check(w, tern_stream_sync(w->stream, w->err));
    tern_program_destroy(program);
}

static tern_weight *make_weight(world *w, const tern_weight_desc *desc)
{
    tern_weight_layout layout;
    tern_weight *weight = NULL;
    if (w->status == TERN_OK)
        check(w, tern_weight_layout_of(&layout, w->device->backend, desc, w->err));
    if (w->status == TERN_OK)
        check(w, tern_weight_create(&weight, w->memory, take(w, layout.bytes), desc, w->err));
    return weight;
}

static void import(world *w, tern_weight *weight, const tern_weight_rows *rows)
{
    if (w->status == TERN_OK) check(w, tern_weight_import(weight, rows, w->err));
}

/* The next matrix. */
static const tern_weight *make_ternary(world *w, int n_out, int k)
{
    const tern_weight_desc desc = {.use = TERN_USE_PLAIN, .k = k, .n_out = n_out};
    tern_weight *weight = make_weight(w, &desc);
    w->matrices[w->n_matrices++] = weight;
    const size_t bytes = tern_ternary_host_bytes(n_out, k);
    float scale[MAX_OUT];
    draw_floats(scale, (size_t)n_out, 1, 6);
    for (size_t i = 0; i < bytes; i++) {
        const uint64_t r = tern_random_u64(2, 2, (uint32_t)i);
        w->host[i] =
            (uint8_t)(r % 3 | (r >> 16) % 3 << 2 | (r >> 32) % 3 << 4 | (r >> 48) % 3 << 6);
    }
    const tern_weight_rows rows = {.rows = n_out, .codes = w->host, .scale = scale};
    import(w, weight, &rows);
    return weight;
}

static void make_table(world *w)
{
    const tern_weight_desc desc = {.use = TERN_USE_TABLE, .k = D, .n_out = VOCAB};
    w->table = make_weight(w, &desc);
    int8_t *high = (int8_t *)w->host, *low = high + VOCAB * D;
    float scale[VOCAB], col[D];
    for (int i = 0; i < 2 * VOCAB * D; i++)
        high[i] = (int8_t)((int)(tern_random_u64(2, 3, (uint32_t)i) % 255u) - 127);
    draw_floats(scale, VOCAB, 4, 12);
    for (int i = 0; i < VOCAB; i++) scale[i] = scale[i] < 0.0f ? -scale[i] : scale[i];
    for (int i = 0; i < D; i++) col[i] = i % 3 ? 0.5f : 4.0f;
    const tern_weight_rows rows = {.rows = VOCAB, .high = high, .low = low, .scale = scale,
                                   .col = col};
    import(w, w->table, &rows);
}

/* ---- the programs --------------------------------------------------------------------------- */

static void products(world *w)
{
    const tern_weight *weight = make_ternary(w, N_OUT, D);
    const tern_span x = floats(w, N_TOK, D, 5, 0), gain = floats(w, 1, D, 6, 2);
    const tern_span y = floats(w, N_TOK, N_OUT, 7, 0);
    const tern_span q = opaque(w, w->device->backend->quant_bytes(N_TOK, D));
    const tern_op ops[] = {
        {.kind = TERN_OP_NORM_QUANT, .layer = -1, .u.norm_quant = {x, gain, q, 1e-5f, 0}},
        {.kind = TERN_OP_LINEAR, .layer = -1, .u.linear = {q, weight, y, 1}},
    };
    static const int tokens[] = {1, 5, N_TOK};
    for (int i = 0; i < 3; i++) {
        run(w, ops, 2, 0, tokens[i]);
        absorb(w, &y, (size_t)N_TOK * N_OUT * sizeof(float));
    }
    for (int i = 0; i < 2; i++) run(w, &ops[i], 1, 0, 1); /* one token, each by itself */
    absorb(w, &y, (size_t)N_TOK * N_OUT * sizeof(float));
}

static void attention(world *w, tern_kv_type type)
{
    const size_t page = tern_kv_page_bytes(type, KV, HD);
    const tern_span rope = floats(w, N_CTX, HD, 8, 3);
    const tern_span pages = opaque(w, N_PAGES * page);
    const tern_kv_pool pool = {w->memory, pages.offset_bytes, N_PAGES, KV, HD, type};
    tern_span qkv = span(w, N_TOK, QKV, TERN_F32);
    const tern_span o = span(w, N_TOK, H * HD, TERN_F32);
    const tern_op ops[] = {
        {.kind = TERN_OP_ROPE_KV, .layer = -1,
         .u.rope_kv = {.qkv = qkv, .rope = rope, .pool = pool, .h = H, .eps = 1e-5f}},
        {.kind = TERN_OP_ATTN, .layer = -1,
         .u.attn = {tern_span_cols(qkv, 0, H * HD), pool, o, H}},
    };
    for (int first = 0; first < N_CTX; first += N_TOK) {
        qkv = floats(w, N_TOK, QKV, 100 + (uint32_t)first, 1);
        w->used = qkv.offset_bytes; /* the same place every time */
        run(w, ops, first + N_TOK < N_CTX ? 1 : 2, first, N_TOK);
    }
    absorb(w, &o, N_TOK * H * HD * sizeof(float));
    run(w, ops, 2, N_CTX - 1, 1);
    absorb(w, &o, N_TOK * H * HD * sizeof(float));
    absorb(w, &pages, N_PAGES * page);
}

static void attention_f16(world *w)
{
    attention(w, TERN_KV_F16);
}

static void attention_i8(world *w)
{
    attention(w, TERN_KV_I8);
}

/* NORM_QUANT of x and the product with the next matrix, at ops[0] and ops[1]. */
static void make_product(world *w, tern_op *ops, tern_span x, tern_span y, int accumulate)
{
    const int k = (int)x.cols;
    const tern_span gain = floats(w, 1, k, 12, 2);
    const tern_span q = opaque(w, w->device->backend->quant_bytes(N_TOK, k));
    const tern_weight *weight = make_ternary(w, (int)y.cols, k);
    ops[0] = (tern_op){.kind = TERN_OP_NORM_QUANT, .layer = -1,
                       .u.norm_quant = {x, gain, q, 1e-5f, 0}};
    ops[1] = (tern_op){.kind = TERN_OP_LINEAR, .layer = -1,
                       .u.linear = {q, weight, y, accumulate}};
}

/* A layer, and how the next one begins: what a device does as one kernel for one token. */
static void layer(world *w)
{
    const size_t page = tern_kv_page_bytes(TERN_KV_F16, KV, HD);
    const tern_span x = floats(w, N_TOK, D, 13, 0), qkv = span(w, N_TOK, QKV, TERN_F32);
    const tern_span o = span(w, N_TOK, H * HD, TERN_F32), act = span(w, N_TOK, F, TERN_F32);
    const tern_span gate_up = span(w, N_TOK, 2 * F, TERN_F32);
    const tern_span rope = floats(w, N_CTX, HD, 8, 3), pages = opaque(w, N_PAGES * page);
    const tern_kv_pool pool = {w->memory, pages.offset_bytes, N_PAGES, KV, HD, TERN_KV_F16};
    tern_op ops[13];
    make_product(w, &ops[0], x, qkv, 0);
    ops[2] = (tern_op){.kind = TERN_OP_ROPE_KV, .layer = -1,
                       .u.rope_kv = {.qkv = qkv, .rope = rope, .pool = pool, .h = H, .eps = 1e-5f}};
    ops[3] = (tern_op){.kind = TERN_OP_ATTN, .layer = -1,
                       .u.attn = {tern_span_cols(qkv, 0, H * HD), pool, o, H}};
    make_product(w, &ops[4], o, x, 1);
    make_product(w, &ops[6], x, gate_up, 0);
    ops[8] = (tern_op){.kind = TERN_OP_ACT_MUL, .layer = -1,
                       .u.act_mul = {tern_span_cols(gate_up, 0, F), tern_span_cols(gate_up, F, F),
                                     act, TERN_ACT_SILU}};
    make_product(w, &ops[9], act, x, 1);
    ops[11] = ops[0];
    ops[12] = ops[1];
    for (int pos = 0; pos < 90; pos += 30) run(w, ops, 13, pos, 1); /* into the second page */
    absorb(w, &x, D * sizeof(float));
    absorb(w, &qkv, QKV * sizeof(float));
    absorb(w, &pages, N_PAGES * page);
}

static void head(world *w)
{
    make_table(w);
    const tern_span x = floats(w, N_TOK, D, 9, 0), gain = floats(w, 1, D, 10, 2);
    const tern_span logits = span(w, N_ROWS, VOCAB, TERN_F32), ids = span(w, N_ROWS, 1, TERN_S32);
    const tern_span top = opaque(w, N_ROWS * N_TOP * sizeof(tern_candidate));
    const tern_span score = opaque(w, N_ROWS * sizeof(tern_score));
    tern_op ops[4];
    for (int i = 0; i < 3; i++)
        ops[i] = (tern_op){.kind = TERN_OP_HEAD, .layer = -1,
                           .u.head = {.x = x, .gain = gain, .table = w->table,
                                      .mode = (tern_head_mode)i, .eps = 1e-5f}};
    ops[TERN_HEAD_FULL].u.head.logits = logits;
    ops[TERN_HEAD_TOP].u.head.top = top;
    ops[TERN_HEAD_TOP].u.head.n = N_TOP;
    ops[TERN_HEAD_SCORE].u.head.score = score;
    ops[3] = (tern_op){.kind = TERN_OP_PICK, .layer = -1,
                       .u.pick = {.logits = logits, .ids = ids, .n_vocab = VOCAB}};
    static const int tokens[] = {1, N_TOK};
    for (int i = 0; i < 2; i++) {
        run(w, ops, 4, 0, tokens[i]);
        absorb(w, &logits, N_ROWS * VOCAB * sizeof(float));
        absorb(w, &top, N_ROWS * N_TOP * sizeof(tern_candidate));
        absorb(w, &ids, N_ROWS * sizeof(int32_t));
        /* tern_score has no holes: two floats, one integer of 8 bytes */
        absorb(w, &score, N_ROWS * sizeof(tern_score));
    }
}

static void rows(world *w)
{
    make_table(w);
    const tern_span ids = span(w, N_TOK, 1, TERN_S32), x = span(w, N_TOK, D, TERN_F32);
    const tern_span gain = floats(w, 1, D, 11, 1), y = span(w, N_TOK, D, TERN_F32);
    const tern_span act = span(w, N_TOK, D / 2, TERN_F32);
    int32_t values[N_TOK];
    for (int t = 0; t < N_TOK; t++) values[t] = (37 * t + 11) % VOCAB;
    send(w, &ids, values, sizeof values);
    tern_op ops[] = {
        {.kind = TERN_OP_EMBED, .layer = -1, .u.embed = {ids, w->table, x, 1.0f}},
        {.kind = TERN_OP_NORM, .layer = -1, .u.norm = {x, gain, y, 1e-5f}},
        {.kind = TERN_OP_ADD, .layer = -1, .u.add = {x, y, y}},
        {.kind = TERN_OP_ACT_MUL, .layer = -1,
         .u.act_mul = {tern_span_cols(y, 0, D / 2), tern_span_cols(y, D / 2, D / 2), act,
                       TERN_ACT_RELU2}},
    };
    for (int kind = TERN_ACT_RELU2; kind <= TERN_ACT_GELU_TANH; kind++) {
        ops[3].u.act_mul.act = (tern_act)kind;
        run(w, ops, 4, 0, N_TOK);
        absorb(w, &act, N_TOK * D / 2 * sizeof(float));
    }
    absorb(w, &y, N_TOK * D * sizeof(float));
}

static const struct {
    const char *name;
    void (*run)(world *w);
    uint64_t answer;
} known[] = {
    {"quantisation and products", products, 0xa19704bed6f54716u},
    {"a layer", layer, 0x384a2aa6901b813du},
    {"rope_kv and attention (f16)", attention_f16, 0x46fef0be30197325u},
    {"rope_kv and attention (i8)", attention_i8, 0x9eeeb679efcf9325u},
    {"the head and sampling", head, 0xcf32606ff44e086bu},
    {"row operations", rows, 0x5b30b00cfa5cb5bfu},
};

/* ---- running them --------------------------------------------------------------------------- */

static int run_one(world *w, size_t i)
{
    w->used = 0;
    w->hash = HASH_SEED;
    for (int p = 0; p < N_PAGES; p++) w->pages[p] = N_PAGES - 1 - p;
    for (int r = 0; r < N_ROWS; r++) w->targets[r] = 7 + 40 * r;
    w->picks[1] = (tern_pick){.temperature = 4.0f, .seed = 5, .position = 9};
    w->picks[2] = (tern_pick){.temperature = 8.0f, .top_k = 90, .top_p = 0.9f, .min_p = 0.01f,
                              .seed = 6};
    check(w, tern_fill(w->stream, w->memory, 0, 0, MEMORY_BYTES, w->err));
    if (w->status == TERN_OK) check(w, tern_stream_sync(w->stream, w->err)); /* before imports */
    known[i].run(w);
    for (int m = 0; m < w->n_matrices; m++) tern_weight_destroy(w->matrices[m]);
    tern_weight_destroy(w->table);
    w->n_matrices = 0;
    w->table = NULL;
    if (w->status != TERN_OK || w->hash == known[i].answer) return w->status;
    return tern_fail(w->err, TERN_E_SELF_TEST,
                     "%s: the kernels for %s give a wrong answer on this device (%016llx instead "
                     "of %016llx): it is not used; please report it with what `tern devices` "
                     "prints",
                     w->device->info.name, known[i].name, (unsigned long long)w->hash,
                     (unsigned long long)known[i].answer);
}

int tern_known_answers(tern_device *device, tern_error *err)
{
    world *w;
    int status = tern_alloc(&w, 1, sizeof *w, "the self-test", err);
    if (status != TERN_OK) return status;
    w->device = device;
    w->err = err;
    const uint64_t budget = device->budget_bytes;
    device->budget_bytes = 0; /* it is about the model's memory, and this is gone before that */
    status = tern_alloc(&w->host, HOST_BYTES, 1, "the self-test", err);
    if (status == TERN_OK) status = tern_stream_create(&w->stream, device, err);
    if (status == TERN_OK) status = tern_buffer_create(&w->memory, device, MEMORY_BYTES, err);
    for (size_t i = 0; i < sizeof known / sizeof known[0] && status == TERN_OK; i++)
        status = run_one(w, i);
    tern_buffer_destroy(w->memory);
    tern_stream_destroy(w->stream);
    device->budget_bytes = budget;
    free(w->host);
    free(w);
    return status;
}
