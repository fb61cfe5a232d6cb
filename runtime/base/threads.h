/* threads.h - a pool that runs one function on all its threads, and a barrier inside it.
 *
 * Used by the CPU backend: one wake-up per program run, a barrier between operations. The calling
 * thread is thread 0, so a pool of one thread starts none. */
#ifndef TERN_BASE_THREADS_H
#define TERN_BASE_THREADS_H

#include "tern/base.h"

#define TERN_MAX_THREADS 1024

typedef struct tern_pool tern_pool;

/* n_threads 1 .. TERN_MAX_THREADS; TERN_E_IO when the system refuses a thread. */
int tern_pool_create(tern_pool **out, int n_threads, tern_error *err);
void tern_pool_destroy(tern_pool *pool);
int tern_pool_threads(const tern_pool *pool);

/* Runs fn(arg, thread) for thread = 0 .. n_threads-1 and returns when all have returned. */
void tern_pool_run(tern_pool *pool, void (*fn)(void *arg, int thread), void *arg);

/* Called by every thread inside tern_pool_run: none leaves before all have entered, and what was
 * written before is visible after. Spins, then sleeps. */
void tern_pool_barrier(tern_pool *pool);

/* Cores this process may run on. */
int tern_cores_available(void);

/* Sets the calling thread's floating-point environment to the one of N1: round to nearest,
 * subnormals kept, no traps. */
void tern_float_env_set(void);

#endif
