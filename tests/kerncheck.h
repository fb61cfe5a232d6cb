/* kerncheck.h - check and bench of the installed CPU kernels: what the files of the program share.
 *
 * A case allocates its operands from guarded memory, runs the slot of the reference and of the
 * level under test on equal inputs, and compares every byte of what they wrote. */
#ifndef TERN_TESTS_KERNCHECK_H
#define TERN_TESTS_KERNCHECK_H

#include "cases.h"
#include "cpu/levels.h"

enum { KC_MAX_BUFFERS = 32 };

/* Memory with a canary before it and a page without access right behind it. */
typedef struct kc_buffer {
    uint8_t *map, *data;
    size_t map_bytes, bytes;
} kc_buffer;

/* One level against the reference. */
typedef struct kc_run {
    const tern_cpu_kernels *ref, *got;
    const char *level, *op;
    uint64_t seed;   /* as on the command line */
    uint64_t random; /* state of the generator of this operation */
    int n_cases, n_failed;
    char what[160]; /* the case, for people */
    kc_buffer buffers[KC_MAX_BUFFERS];
    int n_buffers;
} kc_run;

/* Begins a case; ends the one before: its canaries are checked and its memory returned. */
void kc_case(kc_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
void kc_end(kc_run *run);

/* Zeroed guarded memory, aligned to 4 bytes and to 64 where `bytes` is a multiple of 64. */
void *kc_alloc(kc_run *run, size_t bytes);

/* A copy of memory of this case, guarded like it: outputs begin equal on both sides. */
void *kc_twin(kc_run *run, const void *data, size_t bytes);

/* What ref and got wrote; a difference fails the case and names the first one. */
void kc_same(kc_run *run, const char *name, const void *ref, const void *got, size_t bytes);
void kc_same_floats(kc_run *run, const char *name, const float *ref, const float *got, size_t n);

/* Floats of a flavour: 0 ordinary, 1 mostly zeros of both signs, 2 subnormal, 3 huge (about
 * 1e17, so that squares stay finite), 4 of many magnitudes. */
enum { KC_FLAVOURS = 5 };
void kc_floats(kc_run *run, float *x, size_t n, int flavour);

/* Calls per measurement and the work in one of them. */
typedef struct kc_work {
    void (*call)(const tern_cpu_kernels *kernels, void *context);
    void *context;
    double weight_bytes, macs, values; /* 0: not what this operation is counted in */
} kc_work;

/* Prints one line: median and best time of the level, rates, and how many times ref that is. */
void kc_bench(const kc_run *run, const char *shape, const kc_work *work);

void kc_check_linear(kc_run *run);
void kc_bench_linear(kc_run *run);
void kc_check_attn_group_f16(kc_run *run);
void kc_bench_attn_group_f16(kc_run *run);
void kc_check_attn_merge(kc_run *run);
void kc_bench_attn_merge(kc_run *run);
void kc_check_embed(kc_run *run);
void kc_bench_embed(kc_run *run);
void kc_check_norm_quant(kc_run *run);
void kc_bench_norm_quant(kc_run *run);
void kc_check_act_mul(kc_run *run);
void kc_bench_act_mul(kc_run *run);
void kc_check_head_quant(kc_run *run);
void kc_bench_head_quant(kc_run *run);
void kc_check_head_logits(kc_run *run);
void kc_bench_head_logits(kc_run *run);
void kc_check_attn_group_i8(kc_run *run);
void kc_bench_attn_group_i8(kc_run *run);
void kc_check_head_top(kc_run *run);
void kc_bench_head_top(kc_run *run);
void kc_check_head_score(kc_run *run);
void kc_bench_head_score(kc_run *run);
void kc_check_rope_kv(kc_run *run);
void kc_bench_rope_kv(kc_run *run);
void kc_check_pick(kc_run *run);
void kc_bench_pick(kc_run *run);

#endif
