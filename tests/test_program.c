/* test_program.c - running programs through the public contract: the same bits for every number of
 * threads and on every CPU device, attention in one piece and in parts, copies, and errors that
 * stick. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "program_fixture.h"

static float *floats_of(const tern_span *span)
{
    return (float *)(void *)((uint8_t *)tern_buffer_host(span->buffer) + span->offset_bytes);
}

static int32_t *ints_of(const tern_span *span)
{
    return (int32_t *)(void *)floats_of(span);
}

static tern_program *program_of(fixture *f)
{
    tern_program *program;
    tern_error err = {0};
    if (tern_program_create(&program, f->device, f->ops, FX_N_OPS, &fx_limits, &err) != TERN_OK)
        fail_msg("%s", err.text);
    return program;
}

/* The rows that a batch of n tokens wrote; columns beyond a span's are none of its business. */
static void assert_rows_equal(const tern_span *a, const tern_span *b, int n)
{
    const float *x = floats_of(a), *y = floats_of(b);
    for (int t = 0; t < n; t++)
        assert_memory_equal(x + t * a->ld, y + t * b->ld, (size_t)a->cols * sizeof *x);
}

/* Every position of the context once, in steps of different sizes. */
static void run_context(fixture *f, tern_program *program, int compare)
{
    for (int first = 0, n; first < FX_CTX; first += n) {
        n = first % 2 ? FX_TOK - 1 : 17;
        n = n < FX_CTX - first ? n : FX_CTX - first;
        fx_batch(f, first, n);
        assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
        if (compare) assert_rows_equal(&f->o, &f->merged, n + 1);
    }
    assert_int_equal(tern_stream_sync(f->stream, NULL), TERN_OK);
}

static void check_same_bits(tern_kv_type type)
{
    static const struct {
        const char *name;
        int n_threads;
    } cases[] = {{"cpu:0", 2}, {"cpu:1", 3}, {"cpu:0", 8}};
    fixture *one = fx_open("cpu", 1, type);
    tern_program *program = program_of(one);
    run_context(one, program, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture *f = fx_open(cases[i].name, cases[i].n_threads, type);
        tern_program *again = program_of(f);
        run_context(f, again, 0);
        assert_memory_equal(tern_buffer_host(one->memory), tern_buffer_host(f->memory), FX_BYTES);
        tern_program_destroy(again);
        fx_close(f);
    }
    tern_program_destroy(program);
    fx_close(one);
}

static void test_same_bits_f16(void **state)
{
    (void)state;
    check_same_bits(TERN_KV_F16);
}

static void test_same_bits_i8(void **state)
{
    (void)state;
    check_same_bits(TERN_KV_I8);
}

static void test_attention_in_parts(void **state)
{
    (void)state;
    for (int type = TERN_KV_F16; type <= TERN_KV_I8; type++) {
        fixture *f = fx_open("cpu", 2, (tern_kv_type)type);
        tern_program *program = program_of(f);
        run_context(f, program, 1);
        tern_program_destroy(program);
        fx_close(f);
    }
}

static void test_copies(void **state)
{
    (void)state;
    fixture *f = fx_open("cpu", 3, TERN_KV_F16);
    fx_floats(f, &f->x, 1.0f, 0.0f, 11);
    fx_floats(f, &f->copied, 1.0f, 0.0f, 12);
    fx_batch(f, 0, 40);
    tern_program *program;
    assert_int_equal(
        tern_program_create(&program, f->device, &f->ops[FX_COPY_2D], 2, &fx_limits, NULL),
        TERN_OK);
    const float *x = floats_of(&f->x), *copied = floats_of(&f->copied);
    const float beyond = copied[FX_D]; /* between two rows */
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    assert_rows_equal(&f->x, &f->copied, FX_TOK); /* COPY_2D copies all rows of its span */
    assert_true(copied[FX_D] == beyond);
    for (int r = 0; r < FX_ROWS; r++)
        assert_memory_equal(floats_of(&f->gathered) + r * f->gathered.ld, x + f->rows[r] * f->x.ld,
                            FX_D * sizeof *x);
    tern_program_destroy(program);
    fx_close(f);
}

/* TOP and PICK are FULL's answers; SCORE's are, too. */
static void test_heads_agree(void **state)
{
    (void)state;
    fixture *f = fx_open("cpu", 3, TERN_KV_F16);
    tern_program *program = program_of(f);
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    const tern_candidate *top = (const tern_candidate *)(void *)floats_of(&f->top);
    const tern_score *score = (const tern_score *)(void *)floats_of(&f->score);
    for (int r = 0; r < FX_ROWS; r++) {
        const float *logits = floats_of(&f->logits) + r * f->logits.ld;
        float best = logits[0];
        for (int v = 0; v < FX_VOCAB; v++) best = logits[v] > best ? logits[v] : best;
        for (int i = 0; i < FX_TOP; i++) {
            assert_in_range(top[r * FX_TOP + i].id, 0, FX_VOCAB - 1);
            assert_true(top[r * FX_TOP + i].logit == logits[top[r * FX_TOP + i].id]);
            if (i) assert_true(top[r * FX_TOP + i].logit <= top[r * FX_TOP + i - 1].logit);
        }
        assert_true(top[r * FX_TOP].logit == best && score[r].max_logit == best);
        assert_true(score[r].target_logit == logits[f->targets[r]]);
    }
    assert_int_equal(ints_of(&f->picked)[0], top[0].id); /* greedy */
    assert_int_equal(ints_of(&f->picked_top)[0], top[0].id);
    assert_int_equal(ints_of(&f->picked_top)[2], ints_of(&f->picked)[2]); /* top-k 5 of 7 */
    tern_program_destroy(program);
    fx_close(f);
}

/* The first error of a stream stays: its sentence says where, and nothing runs any more. */
static void check_sticky(fixture *f, tern_program *program, int wanted, const char *words[])
{
    tern_error first = {0}, again = {0};
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    assert_int_equal(tern_stream_sync(f->stream, &first), wanted);
    for (int i = 0; words[i]; i++)
        if (!strstr(first.text, words[i])) fail_msg("'%s' is not in: %s", words[i], first.text);
    fx_floats(f, &f->x, 1.0f, 0.0f, 13); /* fine input from now on */
    fx_batch(f, 0, 3);
    uint8_t *before = case_alloc(FX_BYTES);
    memcpy(before, tern_buffer_host(f->memory), FX_BYTES);
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    assert_memory_equal(before, tern_buffer_host(f->memory), FX_BYTES);
    assert_int_equal(tern_stream_sync(f->stream, &again), wanted);
    assert_string_equal(first.text, again.text);
    free(before);
}

static void test_not_finite_sticks(void **state)
{
    (void)state;
    static const struct {
        int op;
        float value;
        const char *words[4];
    } cases[] = {
        {FX_NORM_QUANT, NAN, {"NORM_QUANT", "layer 3", "finite"}},
        {FX_NORM_QUANT, -INFINITY, {"NORM_QUANT", "layer 3", "finite"}},
        {FX_NORM_QUANT, 1e30f, {"NORM_QUANT", "layer 3", "finite"}}, /* its square is not */
        {FX_HEAD_FULL, NAN, {"HEAD", "layer 15", "finite"}},
        {FX_HEAD_TOP, INFINITY, {"HEAD", "layer 16", "finite"}},
        {FX_HEAD_SCORE, NAN, {"HEAD", "layer 17", "finite"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        fixture *f = fx_open("cpu", 2, TERN_KV_F16);
        tern_program *program;
        fx_floats(f, &f->x, 1.0f, 0.0f, 14);
        floats_of(&f->x)[3 * f->x.ld + 5] = cases[i].value; /* token 3 is row 0 of the batch */
        assert_int_equal(
            tern_program_create(&program, f->device, &f->ops[cases[i].op], 1, &fx_limits, NULL),
            TERN_OK);
        const char *words[4] = {cases[i].words[0], cases[i].words[1], cases[i].words[2], NULL};
        check_sticky(f, program, TERN_E_MODEL, words);
        tern_program_destroy(program);
        fx_close(f);
    }
}

static void test_wrong_id_sticks(void **state)
{
    (void)state;
    static const int32_t wrong[] = {-1, FX_VOCAB, INT32_MAX, INT32_MIN};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        fixture *f = fx_open("cpu", 2, TERN_KV_F16);
        tern_program *program = program_of(f);
        ints_of(&f->ids)[2] = wrong[i];
        const char *words[] = {"EMBED", "vocabulary", "50", NULL};
        check_sticky(f, program, TERN_E_USAGE, words);
        tern_program_destroy(program);
        fx_close(f);
    }
}

/* An error belongs to one stream; the device goes on. */
static void test_other_stream_goes_on(void **state)
{
    (void)state;
    fixture *f = fx_open("cpu", 2, TERN_KV_F16);
    tern_program *program = program_of(f);
    tern_stream *other;
    assert_int_equal(tern_stream_create(&other, f->device, NULL), TERN_OK);
    ints_of(&f->ids)[0] = -7;
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    assert_int_equal(tern_stream_sync(f->stream, NULL), TERN_E_USAGE);
    ints_of(&f->ids)[0] = 7;
    assert_int_equal(tern_program_run(program, other, &f->batch, NULL), TERN_OK);
    assert_int_equal(tern_stream_sync(other, NULL), TERN_OK);
    tern_stream_destroy(other);
    tern_program_destroy(program);
    fx_close(f);
}

static void test_empty_batch(void **state)
{
    (void)state;
    fixture *f = fx_open("cpu", 3, TERN_KV_F16);
    tern_program *program = program_of(f);
    const tern_batch nothing = {0};
    assert_int_equal(tern_program_run(program, f->stream, &nothing, NULL), TERN_OK);
    f->batch.n_rows = 0;
    assert_int_equal(tern_program_run(program, f->stream, &f->batch, NULL), TERN_OK);
    assert_int_equal(tern_stream_sync(f->stream, NULL), TERN_OK);
    tern_program_destroy(program);
    fx_close(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_same_bits_f16),     cmocka_unit_test(test_same_bits_i8),
        cmocka_unit_test(test_attention_in_parts), cmocka_unit_test(test_copies),
        cmocka_unit_test(test_heads_agree),       cmocka_unit_test(test_not_finite_sticks),
        cmocka_unit_test(test_wrong_id_sticks),   cmocka_unit_test(test_other_stream_goes_on),
        cmocka_unit_test(test_empty_batch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
