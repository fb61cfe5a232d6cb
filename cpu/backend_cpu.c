/* backend_cpu.c - the CPU backend: memory, weights and streams. Work runs inside the calls, so
 * streams and events only carry the sticky error; programs are in program.c. */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>

#include "base/fail.h"
#include "base/memory.h"
#include "base/topology.h"
#include "cpu/cpu_device.h"
#include "cpu/levels.h"

static int cpu_count(void)
{
    return 1;
}

/* The value of "<key> : value" in a file of /proc, or "" when it is not there. */
static void proc_value(char *out, size_t cap, const char *path, const char *key)
{
    out[0] = 0;
    FILE *file = fopen(path, "re");
    if (!file) return;
    char line[512];
    const size_t key_bytes = strlen(key);
    while (!out[0] && fgets(line, sizeof line, file)) {
        const char *colon = strchr(line, ':');
        if (strncmp(line, key, key_bytes) != 0 || !colon) continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, cap, "%.*s", (int)strcspn(colon, "\n"), colon);
    }
    fclose(file);
}

/* hwloc takes some milliseconds, and a device is described more than once. */
static int default_threads(void)
{
    static atomic_int known;
    int n = atomic_load(&known);
    if (n == 0) {
        n = tern_cores_fast();
        atomic_store(&known, n);
    }
    return n;
}

static int cpu_info(tern_device_info *out, int index, tern_error *err)
{
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, "cpu:%d", index);
    proc_value(out->hardware, sizeof out->hardware, "/proc/cpuinfo", "model name");
    if (!out->hardware[0]) snprintf(out->hardware, sizeof out->hardware, "CPU");
    struct sysinfo si;
    if (sysinfo(&si) == 0) {
        out->memory_bytes = (uint64_t)si.totalram * si.mem_unit;
        out->free_bytes = (uint64_t)si.freeram * si.mem_unit;
    }
    char
        available[32]; /* counts what the page cache would give back; absent outside Linux proper */
    proc_value(available, sizeof available, "/proc/meminfo", "MemAvailable");
    if (available[0]) out->free_bytes = strtoull(available, NULL, 10) * 1024u;
    tern_cpu_kernels kernels;
    int level;
    const int status =
        tern_cpu_level_select(&level, &kernels, getenv("TERN_CPU"), tern_cpu_features(), err);
    if (status != TERN_OK) return status;
    int n;
    snprintf(out->level, sizeof out->level, "%s", tern_cpu_levels(&n)[level].name);
    out->n_threads = default_threads();
    return TERN_OK;
}

static void cpu_close(tern_device *device)
{
    tern_cpu_device *cpu = (tern_cpu_device *)device;
    if (!cpu) return;
    tern_pool_destroy(cpu->pool);
    free(cpu->thread_scratch);
    free(cpu);
}

static int cpu_open(tern_device **out, int index, const tern_device_options *options,
                    tern_error *err)
{
    tern_cpu_device *cpu;
    int status = tern_alloc(&cpu, 1, sizeof *cpu, "a CPU device", err);
    if (status != TERN_OK) return status;
    status = cpu_info(&cpu->base.info, index, err);
    if (status == TERN_OK && options->n_threads) {
        if (options->n_threads < 0 || options->n_threads > TERN_MAX_THREADS)
            status = tern_fail(err, TERN_E_USAGE, "%d threads: use 1 to %d", options->n_threads,
                               TERN_MAX_THREADS);
        cpu->base.info.n_threads = options->n_threads;
    }
    int level;
    if (status == TERN_OK)
        status = tern_cpu_level_select(&level, &cpu->kernels, cpu->base.info.level,
                                       tern_cpu_features(), err);
    if (status == TERN_OK) status = tern_pool_create(&cpu->pool, cpu->base.info.n_threads, err);
    if (status == TERN_OK)
        status = tern_alloc_aligned(&cpu->thread_scratch,
                                    (size_t)cpu->base.info.n_threads * TERN_THREAD_SCRATCH_BYTES,
                                    "the scratch of the threads", err);
    if (status != TERN_OK) {
        cpu_close(&cpu->base);
        return status;
    }
    *out = &cpu->base;
    return TERN_OK;
}

static int cpu_buffer_create(tern_buffer **out, tern_device *device, size_t bytes, tern_error *err)
{
    tern_cpu_buffer *buffer;
    int status = tern_alloc(&buffer, 1, sizeof *buffer, "a buffer", err);
    if (status != TERN_OK) return status;
    status = tern_alloc_aligned(&buffer->data, bytes, device->info.name, err);
    if (status != TERN_OK) {
        free(buffer);
        return status;
    }
    *out = &buffer->base;
    return TERN_OK;
}

static void cpu_buffer_destroy(tern_buffer *buffer)
{
    free(((tern_cpu_buffer *)buffer)->data);
    free(buffer);
}

static void *cpu_buffer_host(tern_buffer *buffer)
{
    return ((tern_cpu_buffer *)buffer)->data;
}

uint8_t *tern_cpu_at(const tern_span *span)
{
    return span->buffer ? ((tern_cpu_buffer *)span->buffer)->data + span->offset_bytes : NULL;
}

size_t tern_cpu_quant_bytes(int t, int k)
{
    return 2 * tern_round_up((size_t)t * 4, 64) + (size_t)t * (size_t)tern_pad_k(k);
}

tern_quant_view tern_cpu_quant_view(uint8_t *data, int t, int k)
{
    const size_t part = tern_round_up((size_t)t * 4, 64);
    return (tern_quant_view){(float *)(void *)data, (int32_t *)(void *)(data + part),
                             (int8_t *)(data + 2 * part), tern_pad_k(k)};
}

/* Offsets of a weight's parts; the last one is its size. */
typedef struct weight_parts {
    size_t low, scale, col, bytes;
} weight_parts;

static weight_parts parts_of(const tern_weight_desc *desc)
{
    const size_t n_out = (size_t)desc->n_out, k_pad = (size_t)tern_pad_k(desc->k);
    weight_parts parts;
    if (desc->use == TERN_USE_TABLE) {
        const size_t plane = n_out * k_pad; /* a multiple of 64, as k_pad is */
        parts.low = plane;
        parts.scale = plane * (desc->head_type == TERN_HEAD_I16 ? 2 : 1);
    } else {
        parts.low = 0;
        parts.scale = tern_ternary_host_bytes(desc->n_out, desc->k);
    }
    parts.col = parts.scale + tern_round_up(n_out * sizeof(float), 64);
    parts.bytes = parts.col;
    if (desc->use == TERN_USE_TABLE)
        parts.bytes += tern_round_up((size_t)desc->k * sizeof(float), 64);
    return parts;
}

static int cpu_weight_layout(tern_weight_layout *out, const tern_weight_desc *desc, tern_error *err)
{
    (void)err;
    out->bytes = parts_of(desc).bytes;
    out->alignment = 64;
    if (desc->use == TERN_USE_TABLE) {
        out->bits = desc->head_type == TERN_HEAD_I16 ? 16.0f : 8.0f;
        out->name = desc->head_type == TERN_HEAD_I16 ? "16-bit planes" : "8-bit plane";
    } else {
        out->bits = 2.0f;
        out->name = "2-bit";
    }
    return TERN_OK;
}

static int cpu_weight_create(tern_weight **out, tern_buffer *buffer, size_t offset_bytes,
                             const tern_weight_desc *desc, tern_error *err)
{
    tern_cpu_weight *weight;
    const int status = tern_alloc(&weight, 1, sizeof *weight, "a weight", err);
    if (status != TERN_OK) return status;
    uint8_t *data = ((tern_cpu_buffer *)buffer)->data + offset_bytes;
    const weight_parts parts = parts_of(desc);
    weight->k_pad = tern_pad_k(desc->k);
    weight->scale = (float *)(void *)(data + parts.scale);
    if (desc->use == TERN_USE_TABLE) {
        weight->high = (int8_t *)data;
        weight->low = desc->head_type == TERN_HEAD_I16 ? (int8_t *)data + parts.low : NULL;
        weight->col = (float *)(void *)(data + parts.col);
    } else {
        weight->codes = data;
    }
    *out = &weight->base;
    return TERN_OK;
}

static int cpu_weight_import(tern_weight *base, const tern_weight_rows *rows, tern_error *err)
{
    (void)err;
    tern_cpu_weight *weight = (tern_cpu_weight *)base;
    const size_t k = (size_t)base->desc.k, k_pad = (size_t)weight->k_pad;
    memcpy(weight->scale + rows->row0, rows->scale, (size_t)rows->rows * sizeof(float));
    if (base->desc.use != TERN_USE_TABLE) {
        memcpy(weight->codes + (size_t)rows->row0 * k_pad / 4, rows->codes,
               tern_ternary_host_bytes(rows->rows, base->desc.k));
        return TERN_OK;
    }
    for (size_t r = 0; r < (size_t)rows->rows; r++) {
        const size_t to = ((size_t)rows->row0 + r) * k_pad;
        memcpy(weight->high + to, rows->high + r * k, k);
        if (weight->low) memcpy(weight->low + to, rows->low + r * k, k);
    }
    if (rows->col) memcpy(weight->col, rows->col, k * sizeof(float));
    return TERN_OK;
}

static void cpu_weight_destroy(tern_weight *weight)
{
    free(weight);
}

static int cpu_stream_create(tern_stream **out, tern_device *device, tern_error *err)
{
    (void)device;
    return tern_alloc(out, 1, sizeof(tern_stream), "a stream", err);
}

static void cpu_stream_destroy(tern_stream *stream)
{
    free(stream);
}

static int cpu_stream_sync(tern_stream *stream, tern_error *err)
{
    (void)stream;
    (void)err;
    return TERN_OK; /* the wrapper returns the sticky status */
}

static int cpu_event_create(tern_event **out, tern_device *device, tern_error *err)
{
    (void)device;
    return tern_alloc(out, 1, sizeof(tern_event), "an event", err);
}

static void cpu_event_destroy(tern_event *event)
{
    free(event);
}

/* Work is complete when it is issued: there is nothing to wait for. */
static int cpu_event_pass(tern_event *event, tern_stream *stream, tern_error *err)
{
    (void)event;
    (void)stream;
    (void)err;
    return TERN_OK;
}

static int cpu_upload(tern_stream *stream, tern_buffer *to, size_t offset, const void *from,
                      size_t bytes, tern_error *err)
{
    (void)stream;
    (void)err;
    memcpy(((tern_cpu_buffer *)to)->data + offset, from, bytes);
    return TERN_OK;
}

static int cpu_download(tern_stream *stream, void *to, const tern_buffer *from, size_t offset,
                        size_t bytes, tern_error *err)
{
    (void)stream;
    (void)err;
    memcpy(to, ((const tern_cpu_buffer *)from)->data + offset, bytes);
    return TERN_OK;
}

static int cpu_fill(tern_stream *stream, tern_buffer *to, size_t offset, int byte, size_t bytes,
                    tern_error *err)
{
    (void)stream;
    (void)err;
    memset(((tern_cpu_buffer *)to)->data + offset, byte, bytes);
    return TERN_OK;
}

extern const tern_backend tern_backend_cpu;
const tern_backend tern_backend_cpu = {
    .kind = "cpu",
    .count = cpu_count,
    .info = cpu_info,
    .open = cpu_open,
    .close = cpu_close,
    .self_test = tern_cpu_self_test,
    .buffer_create = cpu_buffer_create,
    .buffer_destroy = cpu_buffer_destroy,
    .buffer_host = cpu_buffer_host,
    .weight_layout = cpu_weight_layout,
    .weight_create = cpu_weight_create,
    .weight_import = cpu_weight_import,
    .weight_destroy = cpu_weight_destroy,
    .quant_bytes = tern_cpu_quant_bytes,
    .stream_create = cpu_stream_create,
    .stream_destroy = cpu_stream_destroy,
    .stream_sync = cpu_stream_sync,
    .event_create = cpu_event_create,
    .event_destroy = cpu_event_destroy,
    .event_record = cpu_event_pass,
    .event_wait = cpu_event_pass,
    .upload = cpu_upload,
    .download = cpu_download,
    .fill = cpu_fill,
    .program_bytes = tern_cpu_program_bytes,
    .program_create = tern_cpu_program_create,
    .program_run = tern_cpu_program_run,
    .program_destroy = tern_cpu_program_destroy,
};
