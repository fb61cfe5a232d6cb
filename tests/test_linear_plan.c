/* test_linear_plan.c - tests cuda/linear_plan.c: every plan covers its product, fits the scratch
 * that was asked for by the largest batch, and leaves no CTA of a split without work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cuda/cuda_scratch.h"
#include "cuda/linear_plan.h"

static const int toks[] = {1, 2, 7, 8, 9, 16, 17, 32, 33, 64, 65, 200, 512, 4096};
static const int outs[] = {1, 16, 40, 640, 2560, 3840, 13824, 100000};
static const int ks[] = {1, 128, 640, 2560, 6912, 100000, (1 << 24) - 1};
static const int sms[] = {1, 3, 14, 40, 132, 188, 1000};
#define N_OF(a) ((int)(sizeof(a) / sizeof((a)[0])))

static int64_t n_split_tiles(const tern_linear_plan *plan)
{
    return (int64_t)plan->n_row_tiles * plan->n_tok_tiles - plan->n_whole;
}

static size_t split_bytes(const tern_linear_plan *plan)
{
    const tern_linear_tile tile = tern_cuda_linear_tile(plan->kernel);
    if (plan->split == 1) return 0;
    return (size_t)plan->split * (size_t)n_split_tiles(plan) * (size_t)tile.rows *
           (size_t)tile.tokens * sizeof(int32_t);
}

static void check_cover(tern_linear_plan plan, int n_tok, int n_out, int k)
{
    const tern_linear_tile tile = tern_cuda_linear_tile(plan.kernel);
    assert_true((int64_t)plan.n_row_tiles * tile.rows >= n_out);
    assert_true((int64_t)plan.n_tok_tiles * tile.tokens >= n_tok);
    assert_true((plan.n_row_tiles - 1) * (int64_t)tile.rows < n_out);
    assert_true((plan.n_tok_tiles - 1) * (int64_t)tile.tokens < n_tok);
    assert_in_range(plan.split, 1, tern_cuda_pad_k(k) / TERN_CUDA_COLS);
    assert_true(n_split_tiles(&plan) >= 0);
}

static void test_plans(void **state)
{
    (void)state;
    for (int t = 0; t < N_OF(toks); t++)
        for (int n = 0; n < N_OF(outs); n++)
            for (int k = 0; k < N_OF(ks); k++)
                for (int s = 0; s < N_OF(sms); s++) {
                    const tern_linear_plan plan =
                        tern_cuda_linear_plan(toks[t], outs[n], ks[k], sms[s]);
                    check_cover(plan, toks[t], outs[n], ks[k]);
                    assert_int_equal(plan.n_whole, 0);
                    assert_true(plan.split == 1 || n_split_tiles(&plan) * plan.split <= sms[s]);
                    if (plan.split > 1) assert_in_range(n_split_tiles(&plan), 1, TERN_CUDA_TICKETS);
                    for (int i = t; i < N_OF(toks); i++)
                        assert_true(split_bytes(&plan) <=
                                    tern_cuda_linear_scratch(toks[i], outs[n], ks[k]));
                }
}

/* Whole tiles come in whole waves, and what remains is less than one; its parts are clusters of
 * neighbours, and the last item of a CTA. */
static void check_items(tern_linear_plan plan, int n_sm)
{
    const int64_t tail = n_split_tiles(&plan);
    assert_int_equal(plan.n_items, plan.n_whole + tail * plan.split);
    assert_in_range(plan.n_ctas, 1, plan.n_items);
    assert_true(plan.n_ctas == plan.n_items || plan.n_ctas == n_sm);
    if (plan.split == 1) {
        assert_int_equal(tail, 0);
        return;
    }
    assert_in_range(tail, 1, n_sm - 1);
    assert_int_equal(plan.n_whole % n_sm, 0);
    assert_int_equal(plan.n_whole % plan.split, 0);
    assert_int_equal(plan.n_ctas % plan.split, 0);
    if (plan.n_ctas < plan.n_items) assert_true(tail * plan.split <= plan.n_ctas);
}

static void test_hopper_plans(void **state)
{
    (void)state;
    for (int t = 0; t < N_OF(toks); t++)
        for (int n = 0; n < N_OF(outs); n++)
            for (int k = 0; k < N_OF(ks); k++)
                for (int s = 0; s < N_OF(sms); s++) {
                    const tern_linear_plan plan =
                        tern_cuda_linear_plan_hopper(toks[t], outs[n], ks[k], sms[s]);
                    check_cover(plan, toks[t], outs[n], ks[k]);
                    if (plan.kernel == TERN_LINEAR_GEMV) continue;
                    assert_in_range(plan.split, 1, 8);
                    assert_int_equal(plan.kernel >= TERN_LINEAR_WGMMA_16,
                                     toks[t] >= TERN_CUDA_IMAGE_TOK);
                    if (toks[t] >= TERN_CUDA_IMAGE_TOK) check_items(plan, sms[s]);
                }
}

/* The choices that the table's reasons speak of, on an H200. */
static void test_choices(void **state)
{
    (void)state;
    assert_int_equal(tern_cuda_linear_plan(1, 2560, 2560, 132).split, 1);
    assert_int_equal(tern_cuda_linear_plan(1, 640, 2560, 132).split, 1);
    assert_int_equal(tern_cuda_linear_plan(8, 2560, 2560, 132).split, 3);
    assert_int_equal(tern_cuda_linear_scratch(1, 640, 2560), 0);
    assert_int_equal(tern_cuda_linear_plan(2, 2560, 2560, 132).kernel, TERN_LINEAR_MMA_8);
    assert_int_equal(tern_cuda_linear_plan(64, 2560, 2560, 132).kernel, TERN_LINEAR_MMA_64);
    assert_int_equal(tern_cuda_linear_plan(2048, 2560, 2560, 132).kernel,
                     TERN_LINEAR_MMA_64_WIDE);
    assert_true(tern_cuda_linear_scratch(15, 2560, 6912) <= 2u << 20);
    assert_true(tern_cuda_linear_scratch(4096, 2560, 6912) <= 8u << 20);
    assert_int_equal(tern_cuda_linear_scratch(15, 100000, 2560), 0);

    assert_int_equal(tern_cuda_linear_plan_hopper(8, 2560, 2560, 132).split, 3);
    const tern_linear_plan few = tern_cuda_linear_plan_hopper(64, 2560, 6912, 132);
    assert_int_equal(few.kernel, TERN_LINEAR_WGMMA_64);
    assert_int_equal(few.split, 4);
    const tern_linear_plan many = tern_cuda_linear_plan_hopper(4096, 2560, 6912, 132);
    assert_int_equal(many.kernel, TERN_LINEAR_WGMMA_128_WIDE);
    assert_int_equal(many.n_whole, 2 * 132); /* and 56 tiles, two CTAs for each */
    assert_int_equal(many.split, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plans),
        cmocka_unit_test(test_hopper_plans),
        cmocka_unit_test(test_choices),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
