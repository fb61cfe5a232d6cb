/* calibrate_machine.c - what belongs to no operation: latencies, rates, copies, and how the
 * speed of the first second lasts. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "cli/calibrate.h"
#include "cli/console.h"
#include "cpu/limits.h"

#define COPY_BYTES ((size_t)64 << 20)
#define REPEATS 5
#define LOAD_NS 1000000000u /* of each of the seconds compared */

/* The difference of a program of one small operation and one of many. */
int cli_cal_latency(tern_profile *out, cal_rig *rig, tern_error *err)
{
    const tern_span row = tern_span_cols(rig->x, 0, 64);
    for (int i = 0; i < CAL_OPS; i++) {
        rig->ops[i] = (tern_op){.kind = TERN_OP_ADD, .layer = -1};
        rig->ops[i].u.add = (tern_op_add){row, row, row};
    }
    double one = 0, many = 0;
    for (int i = 0; i < REPEATS; i++) { /* the least disturbed of each */
        double ns;
        int status = cli_cal_time(&ns, rig, 1, 1, 0, 0, err);
        if (status == TERN_OK && (i == 0 || ns < one)) one = ns;
        if (status == TERN_OK) status = cli_cal_time(&ns, rig, CAL_OPS, 1, 0, 0, err);
        if (status != TERN_OK) return status;
        if (i == 0 || ns < many) many = ns;
    }
    rig->op_ns = many > one ? (many - one) / (CAL_OPS - 1) : 1;
    rig->run_ns = one > rig->op_ns ? one - rig->op_ns : 1;
    out->op_ns = rig->op_ns;
    out->run_ns = rig->run_ns;
    return TERN_OK;
}

/* Nanoseconds of a copy of so many bytes, to the device or from it. */
static int time_copy(double *ns, cal_rig *rig, void *host, size_t bytes, int to, tern_error *err)
{
    double samples[REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        const uint64_t begin = tern_now_ns();
        int status = to ? tern_upload(rig->stream, rig->kv, 0, host, bytes, err)
                        : tern_download(rig->stream, host, rig->kv, 0, bytes, err);
        if (status == TERN_OK) status = tern_stream_sync(rig->stream, err);
        if (status != TERN_OK) return status;
        samples[i] = (double)(tern_now_ns() - begin);
    }
    *ns = cli_cal_median(samples, REPEATS);
    return TERN_OK;
}

static int time_copies(tern_profile *out, cal_rig *rig, void *host, tern_error *err)
{
    double to, from, small;
    memset(host, 0x11, COPY_BYTES);
    int status = time_copy(&to, rig, host, COPY_BYTES, 1, err);
    if (status == TERN_OK) status = time_copy(&from, rig, host, COPY_BYTES, 0, err);
    if (status == TERN_OK) status = time_copy(&small, rig, host, 64, 1, err);
    if (status != TERN_OK) return status;
    out->to_bytes = (double)COPY_BYTES * 1e9 / to;
    out->from_bytes = (double)COPY_BYTES * 1e9 / from;
    out->copy_ns = small;
    return TERN_OK;
}

/* Copies until it is told to stop. */
typedef struct copier {
    cal_rig *rig;
    void *host;
    atomic_int stop;
} copier;

static void *copy_on(void *arg)
{
    copier *c = arg;
    while (!atomic_load(&c->stop))
        if (tern_upload(c->rig->stream, c->rig->kv, 0, c->host, COPY_BYTES, NULL) != TERN_OK ||
            tern_stream_sync(c->rig->stream, NULL) != TERN_OK)
            break;
    return NULL;
}

static double median_read(tern_cpu_meter *meter)
{
    double samples[REPEATS];
    for (int i = 0; i < REPEATS; i++) samples[i] = tern_cpu_meter_run(meter).read_bytes;
    return cli_cal_median(samples, REPEATS);
}

/* The host's read rate beside copies, as part of the rate without. */
static int rate_while_copies(tern_profile *out, cal_rig *rig, void *host, tern_cpu_meter *meter,
                             tern_error *err)
{
    copier c = {.rig = rig, .host = host};
    pthread_t thread;
    const double alone = median_read(meter);
    if (pthread_create(&thread, NULL, copy_on, &c) != 0)
        return tern_fail(err, TERN_E_IO, "the system refused a thread that copies");
    const double beside = median_read(meter);
    atomic_store(&c.stop, 1);
    pthread_join(thread, NULL);
    out->while_copies = beside < alone ? beside / alone : 1;
    return TERN_OK;
}

static void limits(tern_profile *out, tern_cpu_meter *meter)
{
    double values[3][REPEATS];
    for (int i = 0; i < REPEATS; i++) {
        const tern_cpu_limits l = tern_cpu_meter_run(meter);
        values[0][i] = l.read_bytes;
        values[1][i] = l.int8_mac;
        values[2][i] = l.f32_fma;
    }
    out->read_bytes = cli_cal_median(values[0], REPEATS);
    out->int8_mac = cli_cal_median(values[1], REPEATS);
    out->f32_fma = cli_cal_median(values[2], REPEATS);
}

int cli_cal_rates(tern_profile *out, cal_rig *rig, tern_error *err)
{
    void *host;
    tern_cpu_meter *meter = NULL;
    int status = tern_alloc_aligned(&host, COPY_BYTES, "copies to measure", err);
    if (status != TERN_OK) return status;
    status = tern_cpu_meter_create(&meter, rig->n_threads, TERN_METER_BYTES, err);
    if (status == TERN_OK) limits(out, meter);
    if (status == TERN_OK) status = time_copies(out, rig, host, err);
    if (status == TERN_OK) status = rate_while_copies(out, rig, host, meter, err);
    tern_cpu_meter_destroy(meter);
    free(host);
    return status;
}

/* Runs of a product of many tokens in the time given. */
static int count_runs(double *runs, cal_rig *rig, tern_program *program, const tern_batch *batch,
                      tern_error *err)
{
    const uint64_t begin = tern_now_ns();
    *runs = 0;
    while (tern_now_ns() - begin < LOAD_NS) {
        if (cli_interrupted()) return tern_fail(err, TERN_E_IO, "the calibration was interrupted");
        int status = tern_program_run(program, rig->stream, batch, err);
        if (status == TERN_OK) status = tern_stream_sync(rig->stream, err);
        if (status != TERN_OK) return status;
        *runs += 1;
    }
    *runs *= (double)LOAD_NS / (double)(tern_now_ns() - begin);
    return TERN_OK;
}

int cli_cal_sustained(tern_profile *out, cal_rig *rig, tern_error *err)
{
    const tern_batch_limits most = {CAL_TOK, 1, 1, CAL_CTX};
    const tern_batch batch = {.n_tok = 32,
                              .n_seq = 1,
                              .pos = rig->pos,
                              .seq = rig->seq,
                              .pages = rig->pages,
                              .pages_ld = 1};
    rig->ops[0] = (tern_op){.kind = TERN_OP_LINEAR, .layer = -1};
    rig->ops[0].u.linear = (tern_op_linear){rig->quant, rig->gate_up[0], rig->wide, 0};
    tern_program *program;
    int status = tern_program_create(&program, rig->device, rig->ops, 1, &most, err);
    if (status != TERN_OK) return status;
    double runs[3] = {0};
    for (int i = 0; i < 3 && status == TERN_OK; i++)
        status = count_runs(&runs[i], rig, program, &batch, err);
    tern_program_destroy(program);
    if (status == TERN_OK) out->sustained = runs[2] < runs[0] ? runs[2] / runs[0] : 1;
    return status;
}
