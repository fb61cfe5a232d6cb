/* kerncheck_device.h - check of a device's operations against the CPU reference, through the device
 * contract alone: what `kerncheck --device NAME` is made of.
 *
 * Every case exists twice, on the reference (side 0) and on the device under test (side 1), with
 * equal operands. A pair holds the two spans. Between operands lie gaps that nothing may touch. */
#ifndef TERN_TESTS_KERNCHECK_DEVICE_H
#define TERN_TESTS_KERNCHECK_DEVICE_H

#include "cases.h"
#include "tern/device.h"

enum { KD_MEMORY_BYTES = 48 << 20, KD_MAX_WEIGHTS = 4, KD_MAX_OPERANDS = 32 };

typedef struct kd_side {
    tern_device *device;
    tern_stream *stream;
    tern_buffer *memory;
    uint8_t *host; /* a copy of `used` bytes of it */
    size_t used;
    size_t gaps[KD_MAX_OPERANDS + 1]; /* offsets of the gaps, each KD_GAP_BYTES */
    int n_gaps;
    tern_weight *weights[KD_MAX_WEIGHTS];
    int n_weights;
} kd_side;

typedef struct kd_run {
    kd_side side[2];
    const char *device, *op;
    uint64_t seed, random;
    int n_cases, n_failed;
    char what[160];
} kd_run;

typedef struct kd_pair {
    tern_span s[2];
} kd_pair;

typedef struct kd_weight {
    const tern_weight *w[2];
} kd_weight;

/* Begins a case with empty memory. */
void kd_case(kd_run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* A dense or wider span with equal contents on both sides, all of `values` [rows, ld]. */
kd_pair kd_values(kd_run *run, int rows, int cols, int ld, tern_dtype type, const void *values);

/* The same with drawn floats; flavours: 0 ordinary, 1 mostly zeros of both signs, 2 subnormal, 3
 * huge (about 1e17), 4 of many magnitudes. */
enum { KD_FLAVOURS = 5 };
kd_pair kd_floats(kd_run *run, int rows, int cols, int ld, int flavour);

/* Private bytes of each side. */
kd_pair kd_opaque(kd_run *run, size_t bytes0, size_t bytes1);

/* The quantised activations of at most t rows of k. */
kd_pair kd_quant(kd_run *run, int t, int k);

/* Drawn ternary weights (mode 0), all +1 (1), or the unit matrix (2); drawn scales. */
kd_weight kd_ternary(kd_run *run, int n_out, int k, int mode);
kd_weight kd_table(kd_run *run, int n_vocab, int d, tern_head_type type);

/* Runs a program of n_ops operations on both sides; the case fails when the two do not end with the
 * same status and sentence. */
void kd_go(kd_run *run, const tern_op *ops0, const tern_op *ops1, int n_ops,
           const tern_batch_limits *limits, const tern_batch *batch);

/* What both sides wrote into the first `bytes` of a pair, and nothing into the gaps. Called after
 * the last kd_go of a case. */
void kd_same(kd_run *run, const char *name, const kd_pair *pair, size_t bytes);
void kd_gaps(kd_run *run);

/* A batch of n tokens, sequences of random lengths, its arrays owned by the caller's struct. */
typedef struct kd_batch {
    tern_batch batch;
    int32_t pos[512], seq[512], pages[64 * 32], rows[64], targets[64];
    tern_pick picks[64];
} kd_batch;
void kd_batch_make(kd_run *run, kd_batch *b, int n_tok, int n_seq, int n_rows, int n_ctx);

/* The families, one file each or a few. */
void kd_check_rows(kd_run *run);
void kd_check_norm_quant(kd_run *run);
void kd_check_linear(kd_run *run);
void kd_check_fused(kd_run *run);
void kd_check_attn(kd_run *run);
void kd_check_rope_kv(kd_run *run);
void kd_check_head(kd_run *run);
void kd_check_pick(kd_run *run);

/* Checks every operation, or the one named; the number of failures, or -1 with a sentence printed
 * when the device cannot be opened. */
int kd_check_device(const char *device, const char *op, uint64_t seed);

#endif
