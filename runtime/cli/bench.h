/* bench.h - what the files of `tern bench` share.
 *
 *   cmd_bench.c     options, the model, the list of tests, the order of the samples
 *   bench_run.c     one timed run of a test on the engine
 *   bench_meter.c   what the device can do at most, and what it consumes
 *   bench_limit.c   the speed that this would allow in that run
 *   bench_report.c  medians and the three forms of output
 *   bench_gemm.c    --gemm: hands over to the program that knows cuBLAS */
#ifndef TERN_CLI_BENCH_H
#define TERN_CLI_BENCH_H

#include "cli/site.h"
#include "cpu/limits.h"

#define BENCH_MAX_LIST 16 /* depths, batch sizes */
#define BENCH_MAX_REPS 99
#define BENCH_MAX_TESTS (BENCH_MAX_LIST * BENCH_MAX_LIST + 2)

/* Prefill of n_prompt tokens (n_decode 0); n_decode steps of `batch` sequences that hold `depth`
 * tokens when the clock starts (n_prompt 0); or, with both, a prompt and its answer. */
typedef struct bench_test {
    char name[48];
    int n_prompt, n_decode, depth, batch;
} bench_test;

/* What a timed run, or a part of it, did. */
typedef struct bench_work {
    uint64_t ns;
    uint64_t n_tok;     /* tokens that went through the layers */
    uint64_t n_steps;
    uint64_t n_context; /* positions attended to, summed over the tokens */
} bench_work;

/* One timed run beside its limit. */
typedef struct bench_sample {
    double tok_s, limit_tok_s;
    double bytes;           /* that the kernels read in a step */
    tern_rates limits;      /* mean of the measurements before and after */
    uint64_t ns, n_tok;     /* of the run */
    double engine_us;       /* a step: scheduling, batch and events, without waiting for devices */
    uint64_t energy_mj;     /* that the device took in it; 0 where it does not count */
} bench_sample;

typedef struct bench_result {
    bench_test test;
    bench_sample samples[BENCH_MAX_REPS];
    int n_samples;
    double predicted_tok_s; /* by the plan's profile; 0: there is none */
} bench_result;

/* The engine under test and what is needed around it. */
typedef struct bench_rig {
    const tern_model_config *config;
    tern_engine *engine;
    cli_plan plan;
    tern_cpu_meter *meter;     /* of a CPU, else NULL */
    tern_device *gpu;          /* for its rates and its energy; NULL for a CPU */
    tern_engine_event *events; /* [tern_engine_max_events] */
    int32_t *prompt;           /* [n_ctx], at least 2 */
    uint32_t n_prompts;        /* submitted so far */
    int *held;                 /* [n_seq] tokens of each sequence, known and sampled */
    uint64_t *ids;             /* [n_seq] of the requests */
    uint64_t resident_bytes;   /* of the process with the loaded model, without the meter */
} bench_rig;

/* Positions that a test needs in the context of each sequence, given n_tok tokens a step. */
int cli_bench_context(const bench_test *test, int n_tok);

/* Opens what measures the first device of the plan. */
int cli_bench_meter_open(bench_rig *rig, tern_error *err);
void cli_bench_meter_close(bench_rig *rig);

/* The instructions of a CPU's rates, the level of a GPU. */
const char *cli_bench_meter_name(const bench_rig *rig);

/* Measures; takes a fraction of a second. */
int cli_bench_rates(tern_rates *out, const bench_rig *rig, tern_error *err);

/* Millijoules since some moment; 0 where the device does not count them. */
uint64_t cli_bench_energy(const bench_rig *rig);

/* Runs a test once between two measurements of the limits. TERN_E_IO after Ctrl-C. */
int cli_bench_sample(bench_sample *out, bench_rig *rig, const bench_test *test, tern_error *err);

/* A short run that touches every weight, so that the first sample finds what the others find. */
int cli_bench_warm_up(bench_rig *rig, tern_error *err);

/* What the plan promises for a test: tok/s, or 0 when nothing was promised. */
double cli_bench_predict(const bench_rig *rig, const bench_test *test);

/* Fills in bytes and limit_tok_s of a sample whose limits are measured; work: of the prompt, of the
 * decode steps. */
int cli_bench_limit(bench_sample *out, const bench_rig *rig, const bench_work work[2],
                    tern_error *err);

typedef enum bench_form { BENCH_MARKDOWN, BENCH_CSV, BENCH_JSON } bench_form;

/* Prints to standard output. `commit` is that of the source, "" when it is unknown. */
int cli_bench_report(const bench_rig *rig, const bench_result *results, int n_results,
                     bench_form form, const char *commit, tern_error *err);

/* What --gemm compares; lists as in "2b4t,70b" and "1,16,256". */
typedef struct bench_gemm_options {
    const char *device, *presets, *tokens;
    int n_samples;
    bench_form form;
} bench_gemm_options;

/* Becomes tern-bench-gemm, which lies beside this program, and so does not return but on failure:
 * TERN_E_DEVICE where it is not there. */
int cli_bench_gemm(const bench_gemm_options *options, tern_error *err);

#endif
