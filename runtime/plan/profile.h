/* profile.h - what a device is known to do: measured by `tern calibrate`, or estimated from data
 * sheets for hardware that is not here. The planner predicts from it and from nothing else.
 *
 * A file is {"tern_profiles": 3, "machine": .., "build": .., "profiles": [...]}: the keys of a
 * profile and their units are the tables of profile_json.c. The library of estimated profiles
 * (runtime/plan/profiles) is part of the program. */
#ifndef TERN_PLAN_PROFILE_H
#define TERN_PLAN_PROFILE_H

#include "tern/device.h"

#define TERN_PROFILE_VERSION 3
#define TERN_PROFILE_MAX_FILE 64 /* profiles in one file */
#define TERN_CURVE_POINTS 12

/* Measured times. A curve gives the nanoseconds of one unit of work for the whole batch, over the
 * tokens of the batch (attention: over the positions that a token attends to). */
typedef enum tern_curve_id {
    TERN_CURVE_LINEAR,     /* one weight, cold; over tokens */
    TERN_CURVE_NORM_QUANT, /* one column */
    TERN_CURVE_ACT_MUL,    /* one column */
    TERN_CURVE_ROPE_KV,    /* one column of q, k and v */
    TERN_CURVE_EMBED,      /* one column */
    TERN_CURVE_ATTN_F16_1, /* one column of a KV head that one query head reads, by one thread */
    TERN_CURVE_ATTN_F16_4, /* the same, read by four query heads; both with one token a sequence */
    TERN_CURVE_ATTN_I8_1,
    TERN_CURVE_ATTN_I8_4,
    TERN_CURVE_CHUNK_F16_1, /* a token of a chunk of a prompt, whose KV is in the caches */
    TERN_CURVE_CHUNK_F16_4,
    TERN_CURVE_CHUNK_I8_1,
    TERN_CURVE_CHUNK_I8_4,
    TERN_CURVE_TOP_I16, /* one value of the table, for the 64 best of each row; over rows */
    TERN_CURVE_TOP_I8,
    TERN_N_CURVES,
} tern_curve_id;

/* "linear", "norm_quant", ...: its key in a file. */
const char *tern_curve_name(tern_curve_id id);

typedef struct tern_curve {
    int n;                                               /* points; 0: not measured */
    double at[TERN_CURVE_POINTS], ns[TERN_CURVE_POINTS]; /* ascending in `at` */
} tern_curve;

/* Linear between the points, proportional outside of them. */
double tern_curve_ns(const tern_curve *curve, double at);

typedef struct tern_profile {
    char name[32];     /* "rtx4060-laptop"; of a measured one the device's, "cpu:0" */
    char kind[8];      /* of the backend: "cpu", "cuda" */
    char hardware[64]; /* "AMD EPYC" */
    char level[16];    /* kernel level */
    char driver[32];   /* "" where there is none */
    char build[64];    /* of the program that measured; "" for estimates */
    char source[256];  /* where the numbers of an estimate come from */
    char storage[16];  /* of the ternary weights: "2-bit" */
    int estimated;
    int n_threads; /* CPU: compute threads; else 0 */
    uint64_t memory_bytes;
    double read_bytes, int8_mac, f32_fma; /* a second, at most */
    double watts;                         /* under load; 0: unknown */
    double reach_read, reach_compute; /* part of these that kernels get, without curve */
    double op_ns, run_ns;             /* latency of an operation, of a program's run */
    double to_bytes, from_bytes,
        copy_ns;         /* host to and from the device; latency of one */
    double while_copies; /* part of the read rate that is left while copies run */
    double sustained;    /* speed after seconds of full load, as part of the first second's */
    tern_curve curves[TERN_N_CURVES];
} tern_profile;

/* Reads the profiles of a JSON text into out [cap]; *n is their number. TERN_E_USAGE with one
 * sentence (`name` is the file's) for what is no profile file of this version, names a value out of
 * its range, or holds more than cap. */
int tern_profiles_parse(tern_profile *out, int cap, int *n, const char *text, size_t bytes,
                        const char *name, tern_error *err);

/* The JSON text of a file; the caller frees it. */
int tern_profiles_write(char **text, const tern_profile *profiles, int n, tern_error *err);

/* The profile of that name in the library; TERN_E_USAGE lists the names. */
int tern_profile_library(tern_profile *out, const char *name, tern_error *err);

/* All of the library. */
int tern_profile_library_all(tern_profile *out, int cap, int *n, tern_error *err);

#endif
