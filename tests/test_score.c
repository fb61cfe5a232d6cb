/* test_score.c - log-probabilities from exact sums. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tern/device.h"

static void test_logprob(void **state)
{
    (void)state;
    const tern_score sure = {.max_logit = 3.0f, .target_logit = 3.0f, .sum = (uint64_t)1 << 40};
    assert_true(tern_score_logprob(&sure, 3.0f) == 0.0);
    assert_true(tern_score_logprob(&sure, -4.5f) == -7.5);
    for (int n = 2; n < 200000; n = n * 3 + 1) { /* n equal logits */
        const tern_score even = {.max_logit = -2.0f, .sum = (uint64_t)n << 40};
        assert_true(fabs(tern_score_logprob(&even, -2.0f) + log(n)) < 1e-14 * (1.0 + log(n)));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logprob)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
