/* test_threads.c - the pool runs everyone once, the barrier orders what they write, also with more
 * threads than cores; the float environment is the one of N1. */
#include <fenv.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <time.h>

#include <cmocka.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/threads.h"
#include "cases.h"

#define MOST 24
#define PHASES 60

typedef struct shared {
    tern_pool *pool;
    int n;
    int runs[MOST];
    int value[MOST]; /* plain memory: only the barrier orders it */
    int errors[MOST];
} shared;

static void count_run(void *arg, int thread)
{
    shared *s = arg;
    s->runs[thread]++;
}

/* In every phase each thread writes its own cell and then reads everyone's. */
static void phases(void *arg, int thread)
{
    shared *s = arg;
    for (int phase = 1; phase <= PHASES; phase++) {
        s->value[thread] = phase * 1000 + thread;
        tern_pool_barrier(s->pool);
        for (int i = 0; i < s->n; i++)
            if (s->value[i] != phase * 1000 + i) s->errors[thread]++;
        tern_pool_barrier(s->pool);
    }
}

static void check(int n, int rounds)
{
    shared s = {.n = n};
    assert_int_equal(tern_pool_create(&s.pool, n, NULL), TERN_OK);
    assert_int_equal(tern_pool_threads(s.pool), n);
    for (int round = 0; round < rounds; round++) {
        tern_pool_run(s.pool, count_run, &s);
        for (int i = 0; i < n; i++) assert_int_equal(s.runs[i], round + 1);
    }
    for (int round = 0; round < rounds / 20 + 1; round++) tern_pool_run(s.pool, phases, &s);
    for (int i = 0; i < n; i++) assert_int_equal(s.errors[i], 0);
    tern_pool_destroy(s.pool);
}

static void test_runs_and_barriers(void **state)
{
    (void)state;
    check(1, 200);
    check(2, 200);
    check(3, 100);
    check(MOST, 40);
}

/* After a pause the threads sleep in the kernel; a run must wake them. */
static void test_wakes_sleepers(void **state)
{
    (void)state;
    shared s = {.n = 4};
    assert_int_equal(tern_pool_create(&s.pool, 4, NULL), TERN_OK);
    for (int round = 0; round < 10; round++) {
        nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
        tern_pool_run(s.pool, count_run, &s);
    }
    for (int i = 0; i < 4; i++) assert_int_equal(s.runs[i], 10);
    nanosleep(&(struct timespec){.tv_nsec = 3000000}, NULL);
    tern_pool_destroy(s.pool);
}

static void test_create_and_destroy(void **state)
{
    (void)state;
    tern_pool *pool = NULL;
    tern_error err;
    assert_int_equal(tern_pool_create(&pool, 0, &err), TERN_E_USAGE);
    assert_non_null(strstr(err.text, "0 threads"));
    assert_int_equal(tern_pool_create(&pool, TERN_MAX_THREADS + 1, &err), TERN_E_USAGE);
    assert_null(pool);
    tern_pool_destroy(NULL);
    for (int i = 0; i < 50; i++) { /* never run */
        assert_int_equal(tern_pool_create(&pool, 1 + i % 4, NULL), TERN_OK);
        tern_pool_destroy(pool);
    }
}

static void test_cores(void **state)
{
    (void)state;
    assert_true(tern_cores_available() >= 1);
    assert_true(tern_cores_available() <= TERN_MAX_THREADS);
}

static void spoil_and_set(void *arg, int thread)
{
    int *fine = (int *)arg + thread;
    fesetround(FE_UPWARD);
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() | 0x8040u); /* flush subnormals to zero, in and out */
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr | (uint64_t)1 << 24));
#endif
    tern_float_env_set();
    volatile float tiny = 0x1p-126f, one = 1.0f, below = 0x1p-25f;
    volatile float half = tiny * 0.5f, back = half * 2.0f, sum = one + below;
    *fine = half != 0.0f && back == 0x1p-126f && sum == 1.0f && fegetround() == FE_TONEAREST;
}

static void test_float_environment(void **state)
{
    (void)state;
    int fine[3] = {0};
    tern_pool *pool;
    assert_int_equal(tern_pool_create(&pool, 3, NULL), TERN_OK);
    tern_pool_run(pool, spoil_and_set, fine);
    tern_pool_destroy(pool);
    for (int i = 0; i < 3; i++) assert_int_equal(fine[i], 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_runs_and_barriers), cmocka_unit_test(test_wakes_sleepers),
        cmocka_unit_test(test_create_and_destroy), cmocka_unit_test(test_cores),
        cmocka_unit_test(test_float_environment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
