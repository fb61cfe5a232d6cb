/* calibrate.h - what the files of `tern calibrate` share.
 *
 *   cmd_calibrate.c       options, the order of the measurements, the file
 *   calibrate_rig.c       a device with weights, tables, KV and activations to run operations on
 *   calibrate_ops.c       one operation at a time: the points of the profile's curves
 *   calibrate_machine.c   rates, latencies, copies, sustained speed */
#ifndef TERN_CLI_CALIBRATE_H
#define TERN_CLI_CALIBRATE_H

#include "plan/planner.h"

/* The shapes of BitNet b1.58 2B4T, with a shorter table. */
#define CAL_D 2560
#define CAL_F 6912
#define CAL_HD 128
#define CAL_H 20
#define CAL_KV 5
#define CAL_VOCAB 32768
#define CAL_TOK 256
#define CAL_PAIRS 19 /* of gate-up and down, 252 MB: more than caches hold */
#define CAL_OPS 256
#define CAL_ROWS 32
#define CAL_TOP 64 /* candidates of a row */
#define CAL_CTX 4096
#define CAL_KV_BYTES ((size_t)128 << 20)

typedef struct cal_rig {
    tern_device *device;
    tern_stream *stream;
    int n_threads; /* of a CPU, else 1 */
    tern_buffer *weights, *tables, *values, *kv;
    tern_weight *gate_up[CAL_PAIRS], *down[CAL_PAIRS], *table[2]; /* i16, i8 */
    tern_span x, wide, act, quant, gain, rope, ids, heads, top;
    tern_op ops[CAL_OPS];
    int32_t pos[CAL_TOK], seq[CAL_TOK], rows[CAL_TOK], pages[CAL_CTX / TERN_PAGE_TOK];
    double op_ns, run_ns; /* measured first, taken off everything else */
} cal_rig;

/* Opens the device and fills everything; takes a second and about 800 MB. */
int cli_cal_rig_open(cal_rig *rig, const char *device, int n_threads, const tern_progress *progress,
                     tern_error *err);
void cli_cal_rig_close(cal_rig *rig);

/* Median nanoseconds of a run of the rig's first n operations, with n_tok tokens and n_rows rows,
 * the first token at position `first`. */
int cli_cal_time(double *ns, cal_rig *rig, int n_ops, int n_tok, int n_rows, int first,
                 tern_error *err);

/* ---- measurements: each fills in what it names ---------------------------------------------- */

/* op_ns and run_ns of rig and profile. */
int cli_cal_latency(tern_profile *out, cal_rig *rig, tern_error *err);

/* read_bytes, int8_mac, f32_fma, while_copies: the CPU's limits; to_bytes, from_bytes, copy_ns. */
int cli_cal_rates(tern_profile *out, cal_rig *rig, tern_error *err);

/* sustained: the first against the last second of three under full load. */
int cli_cal_sustained(tern_profile *out, cal_rig *rig, tern_error *err);

/* Number of points of all curves; point i measured: nanoseconds of a unit, its curve and place. */
int cli_cal_n_points(void);
int cli_cal_point(double *ns, tern_curve_id *curve, double *at, cal_rig *rig, int i,
                  tern_error *err);

/* Sorts. */
double cli_cal_median(double *values, int n);

#endif
