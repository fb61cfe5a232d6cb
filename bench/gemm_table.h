/* gemm_table.h - the comparison of W1.58A8 with cuBLAS as data: samples of cases, what they come
 * to, and the three forms of output. Pure C, filled by gemm_main.cu.
 *
 * A case is one product at one number of tokens. Its sides are measured in turns, sample i of all
 * sides directly after each other, so a ratio is the median of the ratios of pairs. A side that was
 * found wrong has no samples, and a device that is emulated has no times at all. */
#ifndef TERN_BENCH_GEMM_TABLE_H
#define TERN_BENCH_GEMM_TABLE_H

#include <stdint.h>
#include <stdio.h>

#include "tern/device.h"

#ifdef __cplusplus
extern "C" {
#endif

#define GEMM_MAX_SAMPLES 99

typedef enum gemm_side { GEMM_TERN, GEMM_FP16, GEMM_INT8, GEMM_N_SIDES } gemm_side;

/* Cold: L2 flushed before each launch. Hot: launches in a row, one by one, and as a graph. Stream:
 * a graph in which every launch reads weights of its own, more of them than L2 holds, as the
 * products of a decode step do. Host: what one launch costs the CPU. */
typedef enum gemm_mode {
    GEMM_COLD,
    GEMM_HOT,
    GEMM_GRAPH,
    GEMM_STREAM,
    GEMM_HOST,
    GEMM_N_MODES
} gemm_mode;

typedef enum gemm_check { GEMM_ABSENT, GEMM_RIGHT, GEMM_WRONG } gemm_check;

typedef struct gemm_case {
    char preset[16], matrix[16];
    int t, k, n_out;
    gemm_check check[GEMM_N_SIDES];
    int n_samples;                 /* of every side that is right */
    double ns[GEMM_N_SIDES][GEMM_N_MODES][GEMM_MAX_SAMPLES];
} gemm_case;

/* The conditions; `limits` are measured in the same run. */
typedef struct gemm_conditions {
    const char *hardware, *level, *commit;
    int emulated;                  /* no time is printed */
    tern_rates limits;
} gemm_conditions;

typedef struct gemm_stat {
    double median, spread;         /* spread: (largest - smallest) / median */
} gemm_stat;

const char *gemm_side_name(gemm_side side);
const char *gemm_mode_name(gemm_mode mode);

/* 1 where the side has times. */
int gemm_timed(const gemm_case *c, gemm_side side);

/* n samples, 1 .. GEMM_MAX_SAMPLES. */
gemm_stat gemm_stat_of(const double *samples, int n);

/* How many times as long as Tern's `side` takes: median of pairs; 0 where one has no times. */
double gemm_ratio(const gemm_case *c, gemm_side side, gemm_mode mode);

/* Of the n cases, those of one product in ascending t: the first t at which `side` is at least as
 * fast as Tern and stays so; 0 when the lead does not end among them. */
int gemm_lead_ends(const gemm_case *cases, int n, gemm_side side, gemm_mode mode);

/* Bytes of the weights of a side. */
double gemm_weight_bytes(const gemm_case *c, gemm_side side);

typedef enum gemm_form { GEMM_MARKDOWN, GEMM_CSV, GEMM_JSON } gemm_form;

/* The cases lie product by product, t ascending in each. */
void gemm_report(FILE *out, const gemm_conditions *conditions, const gemm_case *cases, int n,
                 gemm_form form);

#ifdef __cplusplus
}
#endif
#endif
