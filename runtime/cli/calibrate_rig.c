/* calibrate_rig.c - a device under measurement: random ternary weights and tables, KV that is not
 * zero (untouched zero pages would be read from a cache), and the timing of lists of operations. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/rng.h"
#include "cli/calibrate.h"
#include "cli/console.h"

#define MIN_RUNS 3
#define MAX_RUNS 64
#define MIN_NS 60000000u /* of the runs together */

static const tern_weight_desc gate_up_desc = {
    .use = TERN_USE_GATE_UP, .k = CAL_D, .n_out = 2 * CAL_F};
static const tern_weight_desc down_desc = {.k = CAL_F, .n_out = CAL_D};

static tern_weight_desc table_desc(int i)
{
    return (tern_weight_desc){.use = TERN_USE_TABLE,
                              .k = CAL_D,
                              .n_out = CAL_VOCAB,
                              .head_type = i ? TERN_HEAD_I8 : TERN_HEAD_I16};
}

/* One source for all matrices: what is read matters, not what it says. */
typedef struct source {
    uint8_t *codes; /* 16 rows of the wider k */
    int8_t *planes; /* 16 rows of a table, high then low */
    float *ones;    /* scales and column factors */
    float *small;   /* scales of rows that are far from the best */
} source;

static int fill_source(source *s, tern_error *err)
{
    const size_t code_bytes = tern_ternary_host_bytes(TERN_TILE_ROWS, CAL_F);
    const size_t plane_bytes = (size_t)2 * TERN_TILE_ROWS * CAL_D;
    int status = tern_alloc(&s->codes, code_bytes, 1, "weights to measure with", err);
    if (status == TERN_OK)
        status = tern_alloc(&s->planes, plane_bytes, 1, "a table to measure with", err);
    if (status == TERN_OK)
        status = tern_alloc(&s->ones, CAL_D, sizeof *s->ones, "a table to measure with", err);
    if (status == TERN_OK)
        status = tern_alloc(&s->small, TERN_TILE_ROWS, sizeof *s->small, "a table to measure with",
                            err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < code_bytes; i++) {
        const uint64_t r = tern_random_u64(1, 0, (uint32_t)i);
        for (int p = 0; p < 4; p++) s->codes[i] |= (uint8_t)((r >> (8 * p)) % 3 << 2 * p);
    }
    for (size_t i = 0; i < plane_bytes; i++)
        s->planes[i] = (int8_t)(tern_random_u64(2, 0, (uint32_t)i) % 251 - 125);
    for (int i = 0; i < CAL_D; i++) s->ones[i] = 1.0f;
    for (int i = 0; i < TERN_TILE_ROWS; i++) s->small[i] = 1e-3f;
    return TERN_OK;
}

/* Of a table one row in 256 may be among the best, as in a trained one: screening finds them. */
static int import(tern_weight *weight, const source *s, tern_error *err)
{
    const tern_weight_desc *d = tern_weight_describe(weight);
    const int low = d->use == TERN_USE_TABLE && d->head_type == TERN_HEAD_I16;
    for (int row = 0; row < d->n_out; row += TERN_TILE_ROWS) {
        const int far = d->use == TERN_USE_TABLE && row / TERN_TILE_ROWS % 256;
        const tern_weight_rows rows = {.row0 = row,
                                       .rows = TERN_TILE_ROWS,
                                       .codes = s->codes,
                                       .high = s->planes,
                                       .low =
                                           low ? s->planes + (size_t)TERN_TILE_ROWS * CAL_D : NULL,
                                       .scale = far ? s->small : s->ones,
                                       .col = row ? NULL : s->ones};
        const int status = tern_weight_import(weight, &rows, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

/* Creates a weight behind what the buffer holds already. */
static int add_weight(tern_weight **out, tern_buffer *buffer, size_t *used,
                      const tern_weight_desc *desc, const source *s, tern_error *err)
{
    tern_weight_layout layout;
    const tern_backend *backend =
        tern_backend_find(tern_device_describe(tern_buffer_device(buffer))->name, err);
    int status = backend ? tern_weight_layout_of(&layout, backend, desc, err) : TERN_E_USAGE;
    if (status != TERN_OK) return status;
    const size_t offset = tern_round_up(*used, layout.alignment);
    status = tern_weight_create(out, buffer, offset, desc, err);
    if (status != TERN_OK) return status;
    *used = offset + layout.bytes;
    return import(*out, s, err);
}

/* A buffer that holds one of each description `count` times, with room to align them. */
static int weight_buffer(tern_buffer **out, cal_rig *rig, const tern_weight_desc *a,
                         const tern_weight_desc *b, int count, tern_error *err)
{
    const tern_backend *backend = tern_backend_find(tern_device_describe(rig->device)->name, err);
    tern_weight_layout first, second;
    int status = backend ? tern_weight_layout_of(&first, backend, a, err) : TERN_E_USAGE;
    if (status == TERN_OK) status = tern_weight_layout_of(&second, backend, b, err);
    if (status != TERN_OK) return status;
    const size_t each = first.bytes + first.alignment + second.bytes + second.alignment;
    return tern_buffer_create(out, rig->device, (size_t)count * each, err);
}

static int fill_weights(cal_rig *rig, const source *s, const tern_progress *progress,
                        tern_error *err)
{
    const tern_weight_desc tables[2] = {table_desc(0), table_desc(1)};
    size_t used = 0, table_used = 0;
    int status = weight_buffer(&rig->weights, rig, &gate_up_desc, &down_desc, CAL_PAIRS, err);
    if (status == TERN_OK)
        status = weight_buffer(&rig->tables, rig, &tables[0], &tables[1], 1, err);
    for (int i = 0; i < CAL_PAIRS && status == TERN_OK; i++) {
        status = add_weight(&rig->gate_up[i], rig->weights, &used, &gate_up_desc, s, err);
        if (status == TERN_OK)
            status = add_weight(&rig->down[i], rig->weights, &used, &down_desc, s, err);
        if (status == TERN_OK)
            status = tern_progress_report(progress, "the preparation", (uint64_t)i, CAL_PAIRS, err);
    }
    for (int i = 0; i < 2 && status == TERN_OK; i++)
        status = add_weight(&rig->table[i], rig->tables, &table_used, &tables[i], s, err);
    return status;
}

/* The spans of `values`, one behind the other; returns the bytes. */
static size_t place_values(cal_rig *rig, const tern_backend *backend)
{
    const size_t quant = backend->quant_bytes(CAL_TOK, CAL_F);
    const int units = rig->n_threads > CAL_KV ? rig->n_threads : CAL_KV;
    const struct {
        tern_span *span;
        int64_t rows, cols;
        tern_dtype type;
    } list[] = {
        {&rig->x, CAL_TOK, CAL_D, TERN_F32},
        {&rig->wide, CAL_TOK, 2 * CAL_F, TERN_F32},
        {&rig->act, CAL_TOK, CAL_F, TERN_F32},
        {&rig->quant, 1, (int64_t)quant, TERN_OPAQUE},
        {&rig->gain, 1, CAL_F, TERN_F32},
        {&rig->rope, CAL_CTX, CAL_HD, TERN_F32},
        {&rig->ids, CAL_TOK, 1, TERN_S32},
        {&rig->top, 1, CAL_ROWS * CAL_TOP * (int64_t)sizeof(tern_candidate), TERN_OPAQUE},
        {&rig->heads, 2 * CAL_TOK, 4 * (int64_t)units * CAL_HD, TERN_F32},
    };
    size_t used = 0;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        *list[i].span = tern_span_make(rig->values, used, list[i].rows, list[i].cols, list[i].type);
        used += tern_round_up(
            (size_t)list[i].rows * (size_t)list[i].cols * tern_dtype_bytes(list[i].type), 256);
    }
    return used;
}

/* Floats of 0x3c.. (about 0.01), ids 0, KV of small numbers. */
static int fill_values(cal_rig *rig, tern_error *err)
{
    const tern_backend *backend = tern_backend_find(tern_device_describe(rig->device)->name, err);
    if (!backend) return TERN_E_USAGE;
    const size_t bytes = place_values(rig, backend);
    int status = tern_buffer_create(&rig->values, rig->device, bytes, err);
    if (status == TERN_OK) status = tern_buffer_create(&rig->kv, rig->device, CAL_KV_BYTES, err);
    if (status != TERN_OK) return status;
    place_values(rig, backend);
    status = tern_fill(rig->stream, rig->values, 0, 0x3c, bytes, err);
    if (status == TERN_OK)
        status = tern_fill(rig->stream, rig->values, rig->ids.offset_bytes, 0,
                           CAL_TOK * sizeof(int32_t), err);
    if (status == TERN_OK) status = tern_fill(rig->stream, rig->kv, 0, 0x11, CAL_KV_BYTES, err);
    return status == TERN_OK ? tern_stream_sync(rig->stream, err) : status;
}

int cli_cal_rig_open(cal_rig *rig, const char *device, int n_threads, const tern_progress *progress,
                     tern_error *err)
{
    *rig = (cal_rig){0};
    source s = {0};
    const tern_device_options options = {.n_threads = n_threads};
    int status = tern_device_open(&rig->device, device, &options, err);
    if (status == TERN_OK) status = tern_stream_create(&rig->stream, rig->device, err);
    if (status == TERN_OK) {
        const int threads = tern_device_describe(rig->device)->n_threads;
        rig->n_threads = threads > 1 ? threads : 1;
        status = fill_source(&s, err);
    }
    if (status == TERN_OK) status = fill_weights(rig, &s, progress, err);
    if (status == TERN_OK) status = fill_values(rig, err);
    for (int i = 0; i < CAL_CTX / TERN_PAGE_TOK; i++) rig->pages[i] = i;
    for (int i = 0; i < CAL_TOK; i++) rig->rows[i] = i;
    free(s.codes);
    free(s.planes);
    free(s.ones);
    free(s.small);
    return status;
}

void cli_cal_rig_close(cal_rig *rig)
{
    for (int i = 0; i < CAL_PAIRS; i++) {
        tern_weight_destroy(rig->gate_up[i]);
        tern_weight_destroy(rig->down[i]);
    }
    for (int i = 0; i < 2; i++) tern_weight_destroy(rig->table[i]);
    tern_buffer_destroy(rig->weights);
    tern_buffer_destroy(rig->tables);
    tern_buffer_destroy(rig->values);
    tern_buffer_destroy(rig->kv);
    tern_stream_destroy(rig->stream);
    tern_device_close(rig->device);
}

static int compare(const void *a, const void *b)
{
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double cli_cal_median(double *values, int n)
{
    qsort(values, (size_t)n, sizeof *values, compare);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}

static int run_once(double *ns, tern_program *program, cal_rig *rig, const tern_batch *batch,
                    tern_error *err)
{
    if (cli_interrupted()) return tern_fail(err, TERN_E_IO, "the calibration was interrupted");
    const uint64_t begin = tern_now_ns();
    int status = tern_program_run(program, rig->stream, batch, err);
    if (status == TERN_OK) status = tern_stream_sync(rig->stream, err);
    *ns = (double)(tern_now_ns() - begin);
    return status;
}

int cli_cal_time(double *ns, cal_rig *rig, int n_ops, int n_tok, int n_rows, int first,
                 tern_error *err)
{
    const tern_batch_limits limits = {CAL_TOK, 1, CAL_ROWS, CAL_CTX};
    for (int i = 0; i < n_tok; i++) rig->pos[i] = first + i;
    const tern_batch batch = {.n_tok = n_tok,
                              .n_seq = 1,
                              .n_rows = n_rows,
                              .pos = rig->pos,
                              .seq = rig->seq,
                              .pages = rig->pages,
                              .pages_ld = CAL_CTX / TERN_PAGE_TOK,
                              .rows = rig->rows,
                              .targets = rig->rows};
    tern_program *program;
    int status = tern_program_create(&program, rig->device, rig->ops, n_ops, &limits, err);
    if (status != TERN_OK) return status;
    double samples[MAX_RUNS], sum = 0;
    int n = 0;
    status = run_once(&samples[0], program, rig, &batch, err); /* warms up */
    while (status == TERN_OK && n < MAX_RUNS && (n < MIN_RUNS || sum < MIN_NS)) {
        status = run_once(&samples[n], program, rig, &batch, err);
        sum += samples[n++];
    }
    tern_program_destroy(program);
    if (status == TERN_OK) *ns = cli_cal_median(samples, n);
    return status;
}
