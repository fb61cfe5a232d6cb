/* kerncheck_memory.c - guarded memory and comparison for kerncheck. */
#include "kerncheck.h"

#include <stdarg.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/f16.h"

#define CANARY 0xa5
#define MAX_SHOWN 4 /* failures of a kernel that are told in full */

/* The canary before `data` must be as it was. */
static void release(kc_run *run, kc_buffer *b)
{
    for (const uint8_t *p = b->map; p < b->data; p++) {
        if (*p == CANARY) continue;
        printf("%s %s, %s: wrote %zu bytes before an operand\n", run->op, run->level, run->what,
               (size_t)(b->data - p));
        run->n_failed++;
        break;
    }
    munmap(b->map, b->map_bytes);
}

void kc_end(kc_run *run)
{
    for (int i = 0; i < run->n_buffers; i++) release(run, &run->buffers[i]);
    run->n_buffers = 0;
}

void kc_case(kc_run *run, const char *format, ...)
{
    kc_end(run);
    va_list args;
    va_start(args, format);
    vsnprintf(run->what, sizeof run->what, format, args);
    va_end(args);
    run->n_cases++;
}

void *kc_alloc(kc_run *run, size_t bytes)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t used = ((bytes + 3) / 4 * 4 + 64 + page - 1) / page * page;
    uint8_t *map =
        mmap(NULL, used + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED || run->n_buffers == KC_MAX_BUFFERS ||
        mprotect(map + used, page, PROT_NONE) != 0) {
        printf("kerncheck: no memory for %zu bytes\n", bytes);
        exit(1);
    }
    madvise(map, used, MADV_HUGEPAGE); /* as tern_alloc_aligned does */
    kc_buffer *b = &run->buffers[run->n_buffers++];
    *b = (kc_buffer){map, map + used - (bytes + 3) / 4 * 4, used + page, bytes};
    memset(map, CANARY, (size_t)(b->data - map));
    return b->data;
}

void *kc_twin(kc_run *run, const void *data, size_t bytes)
{
    return memcpy(kc_alloc(run, bytes), data, bytes);
}

/* Counts a failure; true when it is one of the first and shall be told. */
static int fail(kc_run *run, const char *name, size_t at)
{
    if (++run->n_failed > MAX_SHOWN) return 0;
    printf("%s %s, %s: %s differs from ref at %zu", run->op, run->level, run->what, name, at);
    return 1;
}

void kc_same(kc_run *run, const char *name, const void *ref, const void *got, size_t bytes)
{
    const uint8_t *r = ref, *g = got;
    if (memcmp(r, g, bytes) == 0) return;
    size_t at = 0;
    while (r[at] == g[at]) at++;
    if (fail(run, name, at)) printf(": byte %d instead of %d\n", g[at], r[at]);
}

void kc_same_floats(kc_run *run, const char *name, const float *ref, const float *got, size_t n)
{
    if (memcmp(ref, got, n * sizeof *ref) == 0) return;
    size_t at = 0;
    while (tern_f32_bits(ref[at]) == tern_f32_bits(got[at])) at++;
    if (fail(run, name, at))
        printf(": %a instead of %a\n", (double)got[at], (double)ref[at]);
}

void kc_floats(kc_run *run, float *x, size_t n, int flavour)
{
    static const float scales[KC_FLAVOURS] = {4.0f, 0.0f, 0x1p-130f, 0x1p56f, 1.0f};
    for (size_t i = 0; i < n; i++) {
        x[i] = case_float(&run->random, scales[flavour]);
        if (flavour == 1 && case_int(&run->random, 0, 7) == 0)
            x[i] = case_float(&run->random, 1.0f);
        if (flavour == 4) {
            const int exponent = case_int(&run->random, -60, 30);
            x[i] *= tern_f32_from_bits((uint32_t)(exponent + 127) << 23);
        }
    }
}
