/* limits.h - what this machine can do at most, measured: how fast all threads together read memory
 * and how many 8-bit and float multiply-adds they do. `tern bench` prints every speed beside the
 * limit that these rates give (P4).
 *
 * A rate is the best of a few passes, so a disturbed pass does not make a limit easy to reach. The
 * instructions are the best that the machine has, whatever kernel level is in use: the limit is the
 * machine's, not the level's. */
#ifndef TERN_CPU_LIMITS_H
#define TERN_CPU_LIMITS_H

#include "tern/base.h"

/* Rates of all threads together, per second. */
typedef struct tern_cpu_limits {
    double read_bytes; /* from a buffer larger than the caches, each thread its own part */
    double int8_mac;   /* u8 x s8 products added into integer accumulators, registers only */
    double f32_fma;    /* fused multiply-adds, registers only */
} tern_cpu_limits;

/* The loops that are timed, by instruction set; each is run by every thread at once. */
typedef struct tern_cpu_probes {
    const char *name; /* of the instruction set */
    /* Reads data [bytes], bytes a multiple of TERN_PROBE_BLOCK; the result depends on all of it. */
    uint64_t (*read)(const uint8_t *data, size_t bytes);
    /* `rounds` of TERN_PROBE_UNROLL independent steps; returns the multiply-adds done. What was
     * accumulated goes to *sink. */
    uint64_t (*int8)(uint64_t *sink, uint64_t rounds);
    uint64_t (*fma)(uint64_t *sink, uint64_t rounds);
} tern_cpu_probes;

#define TERN_PROBE_BLOCK 4096 /* bytes */
#define TERN_PROBE_UNROLL 12  /* accumulators: latency times throughput of every core known */

/* The probes for these features (cpu/levels.h). */
void tern_cpu_probes_select(tern_cpu_probes *out, uint32_t features);

typedef struct tern_cpu_meter tern_cpu_meter; /* threads and the buffer they read */

/* At least TERN_METER_BYTES of buffer give the speed of memory; less gives that of a cache. The
 * buffer is written once here, so that its pages are real. TERN_E_USAGE, TERN_E_FIT, TERN_E_IO. */
#define TERN_METER_BYTES ((size_t)512 << 20)
int tern_cpu_meter_create(tern_cpu_meter **out, int n_threads, size_t bytes, tern_error *err);
void tern_cpu_meter_destroy(tern_cpu_meter *meter);

/* "avx512vnni", ...: the instructions of its loops. */
const char *tern_cpu_meter_name(const tern_cpu_meter *meter);

/* Measures; takes about 0.2 s with the full buffer. One thread at a time. */
tern_cpu_limits tern_cpu_meter_run(tern_cpu_meter *meter);

#endif
