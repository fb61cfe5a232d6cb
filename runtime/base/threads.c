/* threads.c - the pool and its barrier: C11 atomics, a bounded spin, then a futex.
 *
 * A wait is always "until this word is no longer `old`"; a wake is "change the word, then wake if
 * anyone sleeps". Sleepers count themselves before they look at the word a last time and wakers
 * change the word before they look at the count, both sequentially consistent, so no wake is lost.
 * The end of a run is one more barrier, which leaves a single wake-up per run. */
#include "base/threads.h"

#include <fenv.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

#include "base/fail.h"
#include "base/memory.h"

#define SPINS 320       /* looks at a word before sleeping: some 10 microseconds */
#define YIELD_EVERY 64  /* looks between yields, in case the awaited thread needs this core */
#define CACHE_LINE 64

/* A word that threads wait for. Each lies in a cache line of its own. */
typedef struct signal_word {
    _Alignas(CACHE_LINE) atomic_uint value;
    atomic_uint sleepers;
} signal_word;

typedef struct pool_thread {
    tern_pool *pool;
    pthread_t handle;
    int index;
} pool_thread;

struct tern_pool {
    signal_word run;   /* changes once per run */
    signal_word phase; /* changes once per barrier */
    _Alignas(CACHE_LINE) atomic_int arrived; /* threads inside the current barrier */
    void (*fn)(void *arg, int thread);       /* fn, arg, stop: written before `run` changes */
    void *arg;
    bool stop;
    int n_threads, n_started; /* started: beyond the caller */
    int spins;
    pool_thread threads[];
};

static void cpu_relax(void)
{
#if defined(__x86_64__)
    _mm_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* `yield` is a no-op on most cores; isb waits a little */
#endif
}

/* Returns once word != old; what was written before the change is visible then. */
static void signal_wait(signal_word *word, unsigned old, int spins)
{
    for (int i = 0; i < spins; i++) {
        if (atomic_load_explicit(&word->value, memory_order_acquire) != old) return;
        cpu_relax();
        if (i % YIELD_EVERY == YIELD_EVERY - 1) sched_yield();
    }
    atomic_fetch_add(&word->sleepers, 1);
    while (atomic_load(&word->value) == old)
        syscall(SYS_futex, &word->value, FUTEX_WAIT_PRIVATE, old, NULL, NULL, 0);
    atomic_fetch_sub(&word->sleepers, 1);
}

static void signal_change(signal_word *word)
{
    atomic_fetch_add(&word->value, 1);
    if (atomic_load(&word->sleepers) != 0)
        syscall(SYS_futex, &word->value, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

static void *thread_main(void *arg)
{
    const pool_thread *self = arg;
    tern_pool *pool = self->pool;
    for (unsigned run = 0;; run++) {
        signal_wait(&pool->run, run, pool->spins);
        if (pool->stop) return NULL;
        pool->fn(pool->arg, self->index);
        tern_pool_barrier(pool);
    }
}

int tern_pool_create(tern_pool **out, int n_threads, tern_error *err)
{
    if (n_threads < 1 || n_threads > TERN_MAX_THREADS)
        return tern_fail(err, TERN_E_USAGE, "%d threads asked for: use 1 to %d", n_threads,
                         TERN_MAX_THREADS);
    tern_pool *pool;
    const size_t bytes = sizeof *pool + (size_t)n_threads * sizeof pool->threads[0];
    const int status = tern_alloc_aligned(&pool, bytes, "the thread pool", err);
    if (status) return status;
    pool->n_threads = n_threads;
    /* With more threads than cores the awaited one may need this very core: sleep at once. */
    pool->spins = n_threads <= tern_cores_available() ? SPINS : 0;
    for (int i = 1; i < n_threads; i++) {
        pool_thread *t = &pool->threads[i];
        t->pool = pool;
        t->index = i;
        const int failed = pthread_create(&t->handle, NULL, thread_main, t);
        if (failed) {
            tern_pool_destroy(pool);
            return tern_fail(err, TERN_E_IO, "thread %d of %d could not be started: %s", i + 1,
                             n_threads, strerror(failed));
        }
        pool->n_started++;
    }
    *out = pool;
    return TERN_OK;
}

void tern_pool_destroy(tern_pool *pool)
{
    if (!pool) return;
    pool->stop = true;
    signal_change(&pool->run);
    for (int i = 1; i <= pool->n_started; i++) pthread_join(pool->threads[i].handle, NULL);
    free(pool);
}

int tern_pool_threads(const tern_pool *pool)
{
    return pool->n_threads;
}

void tern_pool_run(tern_pool *pool, void (*fn)(void *arg, int thread), void *arg)
{
    pool->fn = fn;
    pool->arg = arg;
    if (pool->n_threads > 1) signal_change(&pool->run);
    fn(arg, 0);
    tern_pool_barrier(pool);
}

void tern_pool_barrier(tern_pool *pool)
{
    if (pool->n_threads == 1) return;
    /* The phase cannot change before this thread has arrived, so reading it first is safe. */
    const unsigned phase = atomic_load_explicit(&pool->phase.value, memory_order_relaxed);
    if (atomic_fetch_add_explicit(&pool->arrived, 1, memory_order_acq_rel) + 1 < pool->n_threads) {
        signal_wait(&pool->phase, phase, pool->spins);
        return;
    }
    atomic_store_explicit(&pool->arrived, 0, memory_order_relaxed);
    signal_change(&pool->phase);
}

int tern_cores_available(void)
{
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) {
        const int n = CPU_COUNT(&set);
        return n > 0 ? n : 1;
    }
    const long n = sysconf(_SC_NPROCESSORS_ONLN); /* more than CPU_SETSIZE of them */
    return n < 1 ? 1 : n > TERN_MAX_THREADS ? TERN_MAX_THREADS : (int)n;
}

void tern_float_env_set(void)
{
    fesetenv(FE_DFL_ENV);
    /* The default environment is the C library's; say what N1 needs in so many words. */
#if defined(__x86_64__)
    _mm_setcsr(_mm_getcsr() & ~0x8040u); /* FTZ, DAZ */
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    fpcr &= ~((uint64_t)1 << 24 | (uint64_t)1 << 19); /* FZ, FZ16 */
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr));
#endif
}
