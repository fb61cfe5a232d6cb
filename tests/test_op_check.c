/* test_op_check.c - what programs and batches refuse: every operand of every operation made wrong
 * in every way, one at a time, and every index of a batch. After a refusal nothing has run. */
#include <limits.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "program_fixture.h"

/* The operands that are spans. */
static const struct operand {
    int op;
    const char *name;
    size_t offset; /* of the span in tern_op */
    int optional, any_rows;
} operands[] = {
#define AT(member) offsetof(tern_op, u.member)
    {FX_EMBED, "ids", AT(embed.ids), 0, 0},
    {FX_EMBED, "x", AT(embed.x), 0, 0},
    {FX_NORM, "x", AT(norm.x), 0, 0},
    {FX_NORM, "gain", AT(norm.gain), 0, 0},
    {FX_NORM, "y", AT(norm.y), 0, 0},
    {FX_ADD, "a", AT(add.a), 0, 0},
    {FX_ADD, "b", AT(add.b), 0, 0},
    {FX_ADD, "y", AT(add.y), 0, 0},
    {FX_NORM_QUANT, "x", AT(norm_quant.x), 0, 0},
    {FX_NORM_QUANT, "gain", AT(norm_quant.gain), 1, 0},
    {FX_NORM_QUANT, "q", AT(norm_quant.q), 0, 0},
    {FX_LINEAR, "q", AT(linear.q), 0, 0},
    {FX_LINEAR, "y", AT(linear.y), 0, 0},
    {FX_ROPE_KV, "qkv", AT(rope_kv.qkv), 0, 0},
    {FX_ROPE_KV, "rope", AT(rope_kv.rope), 0, 0},
    {FX_ROPE_KV, "q_gain", AT(rope_kv.q_gain), 1, 0},
    {FX_ROPE_KV, "k_gain", AT(rope_kv.k_gain), 1, 0},
    {FX_ATTN, "q", AT(attn.q), 0, 0},
    {FX_ATTN, "o", AT(attn.o), 0, 0},
    {FX_ATTN_PART, "q", AT(attn_part.q), 0, 0},
    {FX_ATTN_PART, "parts", AT(attn_part.parts), 0, 0},
    {FX_ATTN_MERGE, "parts", AT(attn_merge.parts), 0, 0},
    {FX_ATTN_MERGE, "o", AT(attn_merge.o), 0, 0},
    {FX_ACT_MUL, "gate", AT(act_mul.gate), 0, 0},
    {FX_ACT_MUL, "up", AT(act_mul.up), 0, 0},
    {FX_ACT_MUL, "y", AT(act_mul.y), 0, 0},
    {FX_POOL, "x", AT(pool.x), 0, 0},
    {FX_POOL, "y", AT(pool.y), 0, 0},
    {FX_HEAD_FULL, "x", AT(head.x), 0, 0},
    {FX_HEAD_FULL, "gain", AT(head.gain), 0, 0},
    {FX_HEAD_FULL, "logits", AT(head.logits), 0, 0},
    {FX_HEAD_TOP, "top", AT(head.top), 0, 0},
    {FX_HEAD_SCORE, "top", AT(head.top), 0, 0},
    {FX_HEAD_SCORE, "score", AT(head.score), 0, 0},
    {FX_PICK, "logits", AT(pick.logits), 0, 0},
    {FX_PICK, "ids", AT(pick.ids), 0, 0},
    {FX_PICK_TOP, "top", AT(pick.top), 0, 0},
    {FX_COPY_2D, "from", AT(copy.from), 0, 1},
    {FX_COPY_2D, "to", AT(copy.to), 0, 0},
    {FX_COPY_ROWS, "from", AT(copy.from), 0, 0},
    {FX_COPY_ROWS, "to", AT(copy.to), 0, 0},
};

static tern_span *span_of(tern_op *op, const struct operand *o)
{
    return (tern_span *)(void *)((uint8_t *)op + o->offset);
}

static int creates(const fixture *f, const tern_op *op, const tern_batch_limits *limits,
                   tern_error *err)
{
    tern_program *program = NULL;
    const uint64_t used = tern_device_used_bytes(f->device);
    const int status = tern_program_create(&program, f->device, op, 1, limits, err);
    if (status != TERN_OK) assert_null(program);
    tern_program_destroy(program);
    assert_true(tern_device_used_bytes(f->device) == used);
    return status;
}

/* The operation is refused, and the sentence names it and, when given, the operand. */
static void refused(const fixture *f, const tern_op *op, const char *operand, const char *what)
{
    tern_error err = {0};
    const int status = creates(f, op, &fx_limits, &err);
    if (status != TERN_E_USAGE)
        fail_msg("%s with %s: %s gave %d", tern_op_name(op->kind), operand, what, status);
    char quoted[40];
    snprintf(quoted, sizeof quoted, "'%s'", operand);
    if (!strstr(err.text, tern_op_name(op->kind)) || (*operand && !strstr(err.text, quoted)))
        fail_msg("%s with %s: %s gave: %s", tern_op_name(op->kind), operand, what, err.text);
}

static void test_every_op_alone_is_fine(void **state)
{
    const fixture *f = *state;
    tern_error err = {0};
    for (int i = 0; i < FX_N_OPS; i++)
        if (creates(f, &f->ops[i], &fx_limits, &err) != TERN_OK) fail_msg("%d: %s", i, err.text);
}

static void test_wrong_places(void **state)
{
    const fixture *f = *state;
    fixture *other = fx_open("cpu:1", 1, TERN_KV_F16);
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++) {
        const struct operand *o = &operands[i];
        tern_op op = f->ops[o->op];
        tern_span *span = span_of(&op, o);
        const tern_span right = *span;
        span->buffer = NULL;
        if (o->optional)
            assert_int_equal(creates(f, &op, &fx_limits, NULL), TERN_OK);
        else
            refused(f, &op, "", "no buffer"); /* PICK names both of its two sources */
        *span = right;
        span->buffer = other->memory;
        refused(f, &op, o->name, "a buffer of another device");
        *span = right;
        span->offset_bytes += right.type == TERN_OPAQUE ? 32 : 1;
        refused(f, &op, o->name, "a misaligned offset");
        *span = right;
        span->offset_bytes = FX_BYTES;
        refused(f, &op, o->name, "an offset at the end");
        span->offset_bytes = FX_BYTES - 64;
        if (right.rows * right.cols * (right.type == TERN_OPAQUE ? 1 : 4) > 64)
            refused(f, &op, o->name, "an offset near the end");
        span->offset_bytes = SIZE_MAX - 63;
        refused(f, &op, o->name, "an offset that wraps around");
    }
    fx_close(other);
}

static void test_wrong_shapes(void **state)
{
    const fixture *f = *state;
    for (size_t i = 0; i < sizeof operands / sizeof operands[0]; i++) {
        const struct operand *o = &operands[i];
        tern_op op = f->ops[o->op];
        tern_span *span = span_of(&op, o);
        const tern_span right = *span;
        span->type = right.type == TERN_F32 ? TERN_S32 : TERN_F32;
        refused(f, &op, "", "another type"); /* a copy cannot know which side is wrong */
        *span = right;
        if (right.type == TERN_OPAQUE) continue;
        span->cols++;
        refused(f, &op, "", "a column more");
        span->cols = 0;
        refused(f, &op, "", "no columns");
        span->cols = -right.cols;
        refused(f, &op, "", "negative columns");
        span->cols = ((int64_t)1 << 32) + right.cols;
        span->ld = span->cols;
        refused(f, &op, "", "columns beyond 32 bits");
        *span = right;
        span->ld = right.cols - 1;
        refused(f, &op, o->name, "rows that overlap");
        *span = right;
        span->rows = -1;
        refused(f, &op, "", "negative rows");
        span->rows = right.rows - 1;
        if (!o->any_rows) refused(f, &op, o->name, "a row less");
        span->rows = INT64_MAX;
        refused(f, &op, "", "rows beyond the memory");
        *span = right;
        span->ld = INT64_MAX;
        if (right.rows > 1) refused(f, &op, o->name, "a leading dimension beyond the memory");
    }
}

static tern_kv_pool *pool_of(tern_op *op)
{
    if (op->kind == TERN_OP_ROPE_KV) return &op->u.rope_kv.pool;
    return op->kind == TERN_OP_ATTN ? &op->u.attn.pool : &op->u.attn_part.pool;
}

static int *heads_of(tern_op *op)
{
    if (op->kind == TERN_OP_ROPE_KV) return &op->u.rope_kv.h;
    return op->kind == TERN_OP_ATTN ? &op->u.attn.h : &op->u.attn_part.h;
}

static void test_wrong_pools(void **state)
{
    const fixture *f = *state;
    fixture *other = fx_open("cpu:1", 1, TERN_KV_F16);
    const tern_kv_pool p = f->pool;
    const tern_kv_pool wrong[] = {
        {NULL, p.offset_bytes, FX_PAGES, FX_KV, FX_HD, TERN_KV_F16},
        {other->memory, p.offset_bytes, FX_PAGES, FX_KV, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes + 4, FX_PAGES, FX_KV, FX_HD, TERN_KV_F16},
        {p.buffer, FX_BYTES - 64, FX_PAGES, FX_KV, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_BYTES, FX_KV, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, INT_MAX, FX_KV, TERN_MAX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, 0, FX_KV, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, -1, FX_KV, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, 0, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, -2, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, 3, FX_HD, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, FX_KV, 0, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, FX_KV, 6, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, FX_KV, -8, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, FX_KV, TERN_MAX_HD + 4, TERN_KV_F16},
        {p.buffer, p.offset_bytes, FX_PAGES, FX_KV, FX_HD, (tern_kv_type)2},
    };
    for (int i = FX_ROPE_KV; i <= FX_ATTN_PART; i++) {
        for (size_t w = 0; w < sizeof wrong / sizeof wrong[0]; w++) {
            tern_op op = f->ops[i];
            *pool_of(&op) = wrong[w];
            char what[32];
            snprintf(what, sizeof what, "pool %zu", w);
            refused(f, &op, "pool", what);
        }
        static const int heads[] = {0, -4, 3, 6, INT_MAX - 1};
        for (size_t h = 0; h < sizeof heads / sizeof heads[0]; h++) {
            tern_op op = f->ops[i];
            *heads_of(&op) = heads[h];
            refused(f, &op, "", "a wrong number of heads");
        }
    }
    fx_close(other);
}

static void test_wrong_weights(void **state)
{
    const fixture *f = *state;
    fixture *other = fx_open("cpu:1", 1, TERN_KV_F16);
    const tern_weight *for_linear[] = {NULL, f->table, f->out_weight, other->qkv_weight};
    const tern_weight *for_table[] = {NULL, f->qkv_weight, other->table};
    for (size_t i = 0; i < sizeof for_linear / sizeof for_linear[0]; i++) {
        tern_op op = f->ops[FX_LINEAR];
        op.u.linear.weight = for_linear[i];
        refused(f, &op, "", "a wrong weight");
    }
    for (size_t i = 0; i < sizeof for_table / sizeof for_table[0]; i++) {
        tern_op op = f->ops[FX_EMBED];
        op.u.embed.table = for_table[i];
        refused(f, &op, "table", "a wrong table");
        for (int head = FX_HEAD_FULL; head <= FX_HEAD_SCORE; head++) {
            op = f->ops[head];
            op.u.head.table = for_table[i];
            refused(f, &op, "table", "a wrong table");
        }
    }
    fx_close(other);
}

/* Choices and numbers outside their range. */
static void test_wrong_numbers(void **state)
{
    const fixture *f = *state;
    tern_op op = f->ops[FX_ACT_MUL];
    op.u.act_mul.act = (tern_act)3;
    refused(f, &op, "act", "an unknown activation");
    op = f->ops[FX_POOL];
    op.u.pool.pooling = (tern_pooling)2;
    refused(f, &op, "pooling", "an unknown pooling");
    op = f->ops[FX_HEAD_SCORE];
    op.u.head.mode = (tern_head_mode)3;
    refused(f, &op, "mode", "an unknown mode");
    static const int counts[] = {-1, FX_VOCAB + 1, INT_MAX};
    for (int i = 0; i < 3; i++) {
        op = f->ops[FX_HEAD_TOP];
        op.u.head.n = counts[i];
        refused(f, &op, "n", "a wrong number of candidates");
        op.u.head.mode = TERN_HEAD_SCORE;
        refused(f, &op, "n", "a wrong number of candidates");
        op = f->ops[FX_PICK_TOP];
        op.u.pick.n = counts[i];
        op.u.pick.top.offset_bytes = 0; /* long enough for 51 a row: only the number is wrong */
        refused(f, &op, "", "a wrong number of candidates");
    }
    op = f->ops[FX_HEAD_TOP];
    op.u.head.n = 0;
    refused(f, &op, "n", "no candidates");
    op = f->ops[FX_PICK_TOP];
    op.u.pick.n_vocab = 0;
    refused(f, &op, "", "no vocabulary");
    for (int i = FX_ATTN_PART; i <= FX_ATTN_MERGE; i++) {
        op = f->ops[i];
        *(i == FX_ATTN_PART ? &op.u.attn_part.n_groups : &op.u.attn_merge.n_groups) = FX_GROUPS - 1;
        refused(f, &op, "parts", "too few groups");
    }
    op = f->ops[FX_ATTN_MERGE];
    op.u.attn_merge.h = 3;
    refused(f, &op, "o", "heads that do not divide");
    static const int kinds[] = {TERN_N_OPS, -1, INT_MAX};
    for (int i = 0; i < 3; i++) {
        op = f->ops[FX_ADD];
        op.kind = (tern_op_kind)kinds[i];
        refused(f, &op, "kind", "an unknown kind");
    }
}

/* Operations whose operands agree that there is nothing to do. */
static void test_nothing_at_all(void **state)
{
    const fixture *f = *state;
    static const int which[] = {FX_NORM, FX_ADD, FX_QUANT_PLAIN, FX_ACT_MUL, FX_POOL, FX_COPY_2D,
                                FX_COPY_ROWS};
    for (size_t i = 0; i < sizeof which / sizeof which[0]; i++) {
        tern_op op = f->ops[which[i]];
        for (size_t o = 0; o < sizeof operands / sizeof operands[0]; o++)
            if (f->ops[operands[o].op].kind == op.kind &&
                span_of(&op, &operands[o])->type == TERN_F32)
                span_of(&op, &operands[o])->cols = 0;
        refused(f, &op, "", "no columns anywhere");
    }
}

static void test_wrong_eps(void **state)
{
    const fixture *f = *state;
    static const float wrong[] = {0.0f, -1e-5f, NAN, INFINITY};
    for (int i = 0; i < 4; i++) {
        tern_op op = f->ops[FX_NORM];
        op.u.norm.eps = wrong[i];
        refused(f, &op, "eps", "a wrong eps");
        op = f->ops[FX_NORM_QUANT];
        op.u.norm_quant.eps = wrong[i];
        refused(f, &op, "eps", "a wrong eps");
        op = f->ops[FX_ROPE_KV];
        op.u.rope_kv.eps = wrong[i];
        refused(f, &op, "eps", "a wrong eps");
        op = f->ops[FX_HEAD_TOP];
        op.u.head.eps = wrong[i];
        refused(f, &op, "eps", "a wrong eps");
        op = f->ops[FX_QUANT_PLAIN]; /* reads none */
        op.u.norm_quant.eps = wrong[i];
        assert_int_equal(creates(f, &op, &fx_limits, NULL), TERN_OK);
    }
}

/* More query heads per KV head, or larger ones, than a thread's scratch holds. */
static void test_states_beyond_scratch(void **state)
{
    fixture *f = *state;
    enum { HEADS = 8192, ONE = 1 };
    const tern_batch_limits limits = {ONE, ONE, ONE, TERN_PAGE_TOK};
    tern_buffer *large;
    assert_int_equal(tern_buffer_create(&large, f->device, (size_t)16 << 20, NULL), TERN_OK);
    const tern_span q = tern_span_make(large, 0, ONE, HEADS * FX_HD, TERN_F32);
    const tern_span parts = tern_span_make(large, 0, HEADS, FX_HD + 2, TERN_F32);
    tern_kv_pool pool = f->pool;
    pool.kv = 1;
    const tern_op attn = {.kind = TERN_OP_ATTN, .u.attn = {q, pool, q, HEADS}};
    const tern_op part = {.kind = TERN_OP_ATTN_PART, .u.attn_part = {q, pool, parts, HEADS, ONE}};
    const tern_op merge = {.kind = TERN_OP_ATTN_MERGE, .u.attn_merge = {
        .parts = tern_span_make(large, 0, ONE, 100002, TERN_F32),
        .o = tern_span_make(large, 0, ONE, 100000, TERN_F32), .h = ONE, .n_groups = ONE}};
    assert_int_equal(creates(f, &attn, &limits, NULL), TERN_E_USAGE);
    assert_int_equal(creates(f, &part, &limits, NULL), TERN_E_USAGE);
    assert_int_equal(creates(f, &merge, &limits, NULL), TERN_E_USAGE);
    tern_buffer_destroy(large);
}

static void test_wrong_limits(void **state)
{
    const fixture *f = *state;
    const tern_batch_limits wrong[] = {
        {0, 1, 1, 1}, {-1, 1, 1, 1}, {1, 0, 1, 1}, {1, -1, 1, 1}, {1, 1, -1, 1}, {1, 1, 1, 0},
        {FX_TOK + 1, FX_SEQ, FX_ROWS, FX_CTX}, /* beyond the operands */
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_int_equal(creates(f, &f->ops[FX_ADD], &wrong[i], NULL), TERN_E_USAGE);
    const tern_batch_limits longer = {FX_TOK, FX_SEQ, FX_ROWS, FX_CTX + 1};
    assert_int_equal(creates(f, &f->ops[FX_ROPE_KV], &longer, NULL), TERN_E_USAGE);
    const tern_batch_limits rows = {FX_TOK, FX_SEQ, TERN_HEAD_MAX_ROWS + 1, FX_CTX};
    tern_op op = f->ops[FX_HEAD_FULL];
    op.u.head.logits = tern_span_make(f->memory, 0, TERN_HEAD_MAX_ROWS + 1, FX_VOCAB, TERN_F32);
    assert_int_equal(creates(f, &op, &rows, NULL), TERN_E_USAGE);
}

/* ---- batches -------------------------------------------------------------------------------- */

/* A batch with one wrong thing is refused and nothing has run; the fixture's batch is restored. */
static void batch_refused(fixture *f, tern_program *program, const char *word)
{
    tern_error err = {0};
    uint8_t *before = case_alloc(FX_BYTES);
    memcpy(before, tern_buffer_host(f->memory), FX_BYTES);
    const int status = tern_program_run(program, f->stream, &f->batch, &err);
    if (status != TERN_E_USAGE || !strstr(err.text, word))
        fail_msg("'%s': status %d: %s", word, status, err.text);
    assert_memory_equal(before, tern_buffer_host(f->memory), FX_BYTES);
    assert_int_equal(tern_stream_sync(f->stream, NULL), TERN_OK);
    free(before);
    fx_batch(f, 70, 3);
}

static tern_program *whole_program(fixture *f)
{
    tern_program *program;
    assert_int_equal(tern_program_create(&program, f->device, f->ops, FX_N_OPS, &fx_limits, NULL),
                     TERN_OK);
    fx_batch(f, 70, 3);
    return program;
}

static void test_batch_sizes(void **state)
{
    fixture *f = *state;
    tern_program *program = whole_program(f);
    int *const sizes[] = {&f->batch.n_tok, &f->batch.n_seq, &f->batch.n_rows};
    static const int above[] = {FX_TOK + 1, FX_SEQ + 1, FX_ROWS + 1};
    for (int i = 0; i < 3; i++) {
        *sizes[i] = -1;
        batch_refused(f, program, "exceeds");
        *sizes[i] = INT_MIN;
        batch_refused(f, program, "exceeds");
        *sizes[i] = above[i];
        batch_refused(f, program, "exceeds");
        *sizes[i] = INT_MAX;
        batch_refused(f, program, "exceeds");
    }
    tern_program_destroy(program);
}

static void test_batch_indices(void **state)
{
    fixture *f = *state;
    tern_program *program = whole_program(f);
    const struct {
        int32_t *at, value;
        const char *word;
    } wrong[] = {
        {&f->pos[1], -1, "position"}, {&f->pos[1], FX_CTX, "position"},
        {&f->pos[0], INT32_MAX, "position"}, {&f->pos[3], INT32_MIN, "position"},
        {&f->seq[0], -1, "sequence"}, {&f->seq[3], FX_SEQ, "sequence"},
        {&f->seq[1], 1, "sequence"}, /* not ascending: 0 1 0 1 */
        {&f->seq[0], INT32_MAX, "sequence"},
        {&f->pages[0], -1, "page"}, {&f->pages[1], FX_PAGES, "page"},
        {&f->pages[FX_LD_PAGES], INT32_MAX, "page"}, {&f->pages[0], INT32_MIN, "page"},
        {&f->rows[0], -1, "row"}, {&f->rows[2], 4, "row"}, {&f->rows[1], INT32_MAX, "row"},
        {&f->targets[0], -1, "scores"}, {&f->targets[2], FX_VOCAB, "scores"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        *wrong[i].at = wrong[i].value;
        batch_refused(f, program, wrong[i].word);
    }
    f->batch.pages_ld = 1; /* position 70 lies in page 1 */
    batch_refused(f, program, "lacks page 1");
    f->pages[2] = -1; /* beyond the positions of the batch: nobody reads it */
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    tern_program_destroy(program);
}

static void test_batch_missing_arrays(void **state)
{
    fixture *f = *state;
    tern_program *program = whole_program(f);
    f->batch.pos = NULL;
    batch_refused(f, program, "positions");
    f->batch.seq = NULL;
    batch_refused(f, program, "positions");
    f->batch.pages = NULL;
    batch_refused(f, program, "page");
    f->batch.rows = NULL;
    batch_refused(f, program, "rows");
    f->batch.targets = NULL;
    batch_refused(f, program, "targets");
    f->batch.picks = NULL;
    batch_refused(f, program, "sampling");
    tern_program_destroy(program);
}

static void test_stream_of_another_device(void **state)
{
    fixture *f = *state;
    fixture *other = fx_open("cpu:1", 1, TERN_KV_F16);
    tern_program *program = whole_program(f);
    tern_error err = {0};
    assert_int_equal(tern_program_run(program, other->stream, &f->batch, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "cpu:1"));
    tern_program_destroy(program);
    fx_close(other);
}

static int open_fixture(void **state)
{
    *state = fx_open("cpu", 2, TERN_KV_F16);
    return 0;
}

static int close_fixture(void **state)
{
    fx_close(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_op_alone_is_fine), cmocka_unit_test(test_wrong_places),
        cmocka_unit_test(test_wrong_shapes), cmocka_unit_test(test_wrong_pools),
        cmocka_unit_test(test_wrong_weights), cmocka_unit_test(test_wrong_numbers),
        cmocka_unit_test(test_nothing_at_all),
        cmocka_unit_test(test_wrong_eps), cmocka_unit_test(test_states_beyond_scratch),
        cmocka_unit_test(test_wrong_limits), cmocka_unit_test(test_batch_sizes),
        cmocka_unit_test(test_batch_indices), cmocka_unit_test(test_batch_missing_arrays),
        cmocka_unit_test(test_stream_of_another_device),
    };
    return cmocka_run_group_tests(tests, open_fixture, close_fixture);
}
