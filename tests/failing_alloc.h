/* failing_alloc.h - memory that runs out at a chosen moment. The linker sends every allocation of
 * the library through the wrappers here (tests/CMakeLists.txt); those of the system's libraries
 * stay outside. For one test program each: the wrappers are definitions. */
#ifndef TERN_TESTS_FAILING_ALLOC_H
#define TERN_TESTS_FAILING_ALLOC_H

#include <stdatomic.h>
#include <stddef.h>

static atomic_int n_allocations; /* relaxed would do: a number, nothing else depends on it */
static int fails_at;             /* number of the allocation that fails; 0: none */

static inline int fails(void)
{
    return atomic_fetch_add(&n_allocations, 1) + 1 == fails_at;
}

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t count, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__real_aligned_alloc(size_t alignment, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t count, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);
void *__wrap_aligned_alloc(size_t alignment, size_t bytes);

void *__wrap_malloc(size_t bytes)
{
    return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t count, size_t bytes)
{
    return fails() ? NULL : __real_calloc(count, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
    return fails() ? NULL : __real_realloc(old, bytes);
}

void *__wrap_aligned_alloc(size_t alignment, size_t bytes)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, bytes);
}

static inline void count_from_here(int failing)
{
    fails_at = failing;
    atomic_store(&n_allocations, 0);
}

#endif
