/* device.c - the calls of tern/device.h: they check, account for memory and forward to the
 * backend. */
#include <stdarg.h>
#include <stdio.h>

#include "base/fail.h"
#include "base/memory.h"
#include "device/backend.h"

#define MAX_K (1 << 24) /* LINEAR: 127 * k stays below 2^31 */

void tern_stream_fail(tern_stream *stream, int status, const char *format, ...)
{
    if (stream->sticky.status != TERN_OK) return;
    va_list args;
    va_start(args, format);
    vsnprintf(stream->sticky.text, sizeof stream->sticky.text, format, args);
    va_end(args);
    stream->sticky.status = status;
}

void tern_stream_fault_id(tern_stream *stream, tern_op_kind kind, int n_vocab)
{
    tern_stream_fail(stream, TERN_E_USAGE, "%s met a token id outside the vocabulary of %d",
                     tern_op_name(kind), n_vocab);
}

void tern_stream_fault_not_finite(tern_stream *stream, tern_op_kind kind, int layer)
{
    char place[TERN_PLACE_BYTES];
    tern_stream_fail(stream, TERN_E_MODEL,
                     "%s met values that are not finite: the model's weights are damaged or do not "
                     "belong together",
                     tern_op_place(place, kind, layer));
}

int tern_device_rates(tern_rates *out, tern_device *device, tern_error *err)
{
    if (device->backend->rates) return device->backend->rates(out, device, err);
    return tern_fail(err, TERN_E_DEVICE, "%s: its limits cannot be measured", device->info.name);
}

int tern_device_energy(uint64_t *mj, tern_device *device, tern_error *err)
{
    if (device->backend->energy) return device->backend->energy(mj, device, err);
    return tern_fail(err, TERN_E_DEVICE, "%s: its energy is not counted", device->info.name);
}

void tern_device_close(tern_device *device)
{
    if (device) device->backend->close(device);
}

const tern_device_info *tern_device_describe(const tern_device *device)
{
    return &device->info;
}

uint64_t tern_device_used_bytes(const tern_device *device)
{
    return device->used_bytes;
}

int tern_device_self_test(tern_device *device, tern_error *err)
{
    return device->backend->self_test(device, err);
}

/* The budget check that buffers and programs share. */
static int take_bytes(tern_device *device, size_t bytes, tern_error *err)
{
    const uint64_t budget = device->budget_bytes;
    if (budget && (bytes > budget || device->used_bytes > budget - bytes))
        return tern_fail(
            err, TERN_E_FIT,
            "%s: %zu bytes do not fit into its budget of %llu bytes, of which %llu are in "
            "use: give it more, or ask for a smaller context",
            device->info.name, bytes, (unsigned long long)budget,
            (unsigned long long)device->used_bytes);
    device->used_bytes += bytes;
    return TERN_OK;
}

int tern_buffer_create(tern_buffer **out, tern_device *device, size_t bytes, tern_error *err)
{
    int status = take_bytes(device, bytes, err);
    if (status != TERN_OK) return status;
    tern_buffer *buffer = NULL;
    status = device->backend->buffer_create(&buffer, device, bytes, err);
    if (status != TERN_OK) {
        device->used_bytes -= bytes;
        return status;
    }
    buffer->device = device;
    buffer->bytes = bytes;
    *out = buffer;
    return TERN_OK;
}

void tern_buffer_destroy(tern_buffer *buffer)
{
    if (!buffer) return;
    buffer->device->used_bytes -= buffer->bytes;
    buffer->device->backend->buffer_destroy(buffer);
}

size_t tern_buffer_bytes(const tern_buffer *buffer)
{
    return buffer->bytes;
}

tern_device *tern_buffer_device(const tern_buffer *buffer)
{
    return buffer->device;
}

void *tern_buffer_host(tern_buffer *buffer)
{
    return buffer->device->backend->buffer_host(buffer);
}

/* Whether the parts of a weight add up to its rows. */
static int parts_fit(const tern_weight_desc *desc)
{
    switch (desc->use) {
    case TERN_USE_PLAIN: return 1;
    case TERN_USE_QKV:
        if (desc->h <= 0 || desc->kv <= 0 || desc->hd <= 0 || desc->hd > TERN_MAX_HD) return 0;
        return ((int64_t)desc->h + 2 * (int64_t)desc->kv) * desc->hd == desc->n_out;
    case TERN_USE_GATE_UP: return desc->n_out % 2 == 0;
    case TERN_USE_TABLE:
        return desc->head_type == TERN_HEAD_I16 || desc->head_type == TERN_HEAD_I8;
    }
    return 0;
}

int tern_weight_layout_of(tern_weight_layout *out, const tern_backend *backend,
                          const tern_weight_desc *desc, tern_error *err)
{
    if (desc->k <= 0 || desc->n_out <= 0)
        return tern_fail(err, TERN_E_USAGE, "a weight of %d x %d has no elements", desc->n_out,
                         desc->k);
    if (desc->k >= MAX_K)
        return tern_fail(err, TERN_E_USAGE, "a weight of %d x %d: sums over k are exact below %d",
                         desc->n_out, desc->k, MAX_K);
    if (!parts_fit(desc))
        return tern_fail(err, TERN_E_USAGE, "a weight of %d x %d: its parts or its kind do not fit "
                         "its rows", desc->n_out, desc->k);
    return backend->weight_layout(out, desc, err);
}

int tern_weight_create(tern_weight **out, tern_buffer *buffer, size_t offset_bytes,
                       const tern_weight_desc *desc, tern_error *err)
{
    const tern_backend *backend = buffer->device->backend;
    tern_weight_layout layout;
    const int status = tern_weight_layout_of(&layout, backend, desc, err);
    if (status != TERN_OK) return status;
    size_t end;
    if (offset_bytes % layout.alignment != 0 ||
        !tern_size_add(&end, offset_bytes, layout.bytes) || end > buffer->bytes)
        return tern_fail(
            err, TERN_E_USAGE,
            "a weight of %zu bytes at offset %zu is misaligned or leaves its buffer of "
            "%zu bytes",
            layout.bytes, offset_bytes, buffer->bytes);
    tern_weight *weight = NULL;
    const int created = backend->weight_create(&weight, buffer, offset_bytes, desc, err);
    if (created != TERN_OK) return created;
    weight->buffer = buffer;
    weight->offset_bytes = offset_bytes;
    weight->desc = *desc;
    *out = weight;
    return TERN_OK;
}

int tern_weight_import(tern_weight *weight, const tern_weight_rows *rows, tern_error *err)
{
    const tern_weight_desc *desc = &weight->desc;
    const int table = desc->use == TERN_USE_TABLE;
    if (rows->row0 < 0 || rows->row0 % TERN_TILE_ROWS != 0 || rows->rows <= 0 ||
        rows->rows > desc->n_out - rows->row0 || !rows->scale ||
        (table ? !rows->high || (desc->head_type == TERN_HEAD_I16 && !rows->low) : !rows->codes))
        return tern_fail(err, TERN_E_USAGE,
                         "%d rows from row %d on cannot be imported into a weight of %d rows",
                         rows->rows, rows->row0, desc->n_out);
    if (!table) {
        const size_t bytes = tern_ternary_host_bytes(rows->rows, desc->k);
        for (size_t i = 0; i < bytes; i++)
            if (rows->codes[i] & (rows->codes[i] >> 1) & 0x55)
                return tern_fail(
                    err, TERN_E_MODEL,
                    "a ternary weight in rows %d .. %d has the code 3, which no encoder "
                    "writes: the file is damaged or of another layout",
                    rows->row0, rows->row0 + rows->rows - 1);
    }
    return weight->buffer->device->backend->weight_import(weight, rows, err);
}

void tern_weight_destroy(tern_weight *weight)
{
    if (weight) weight->buffer->device->backend->weight_destroy(weight);
}

const tern_weight_desc *tern_weight_describe(const tern_weight *weight)
{
    return &weight->desc;
}

int tern_stream_create(tern_stream **out, tern_device *device, tern_error *err)
{
    const int status = device->backend->stream_create(out, device, err);
    if (status == TERN_OK) (*out)->device = device;
    return status;
}

void tern_stream_destroy(tern_stream *stream)
{
    if (stream) stream->device->backend->stream_destroy(stream);
}

int tern_stream_sync(tern_stream *stream, tern_error *err)
{
    const int status = stream->device->backend->stream_sync(stream, err);
    if (status != TERN_OK) return status;
    if (stream->sticky.status != TERN_OK && err) *err = stream->sticky;
    return stream->sticky.status;
}

int tern_event_create(tern_event **out, tern_device *device, tern_error *err)
{
    const int status = device->backend->event_create(out, device, err);
    if (status == TERN_OK) (*out)->device = device;
    return status;
}

void tern_event_destroy(tern_event *event)
{
    if (event) event->device->backend->event_destroy(event);
}

int tern_event_record(tern_event *event, tern_stream *stream, tern_error *err)
{
    if (event->device != stream->device)
        return tern_fail(err, TERN_E_USAGE, "an event of %s cannot be recorded on a stream of %s",
                         event->device->info.name, stream->device->info.name);
    return event->device->backend->event_record(event, stream, err);
}

int tern_event_wait(tern_event *event, tern_stream *stream, tern_error *err)
{
    return event->device->backend->event_wait(event, stream, err);
}

/* A transfer lies inside its buffer, which lies on the stream's device. */
static int check_transfer(const tern_stream *stream, const tern_buffer *buffer, size_t offset,
                          size_t bytes, tern_error *err)
{
    if (buffer->device != stream->device)
        return tern_fail(err, TERN_E_USAGE, "a transfer on %s names a buffer of %s",
                         stream->device->info.name, buffer->device->info.name);
    if (offset > buffer->bytes || bytes > buffer->bytes - offset)
        return tern_fail(err, TERN_E_USAGE,
                         "%s: a transfer of %zu bytes at offset %zu leaves its buffer of %zu bytes",
                         stream->device->info.name, bytes, offset, buffer->bytes);
    return TERN_OK;
}

int tern_upload(tern_stream *stream, tern_buffer *to, size_t offset, const void *from, size_t bytes,
                tern_error *err)
{
    const int status = check_transfer(stream, to, offset, bytes, err);
    if (status != TERN_OK || bytes == 0) return status;
    return stream->device->backend->upload(stream, to, offset, from, bytes, err);
}

int tern_download(tern_stream *stream, void *to, const tern_buffer *from, size_t offset,
                  size_t bytes, tern_error *err)
{
    const int status = check_transfer(stream, from, offset, bytes, err);
    if (status != TERN_OK || bytes == 0) return status;
    return stream->device->backend->download(stream, to, from, offset, bytes, err);
}

int tern_fill(tern_stream *stream, tern_buffer *to, size_t offset, int byte, size_t bytes,
              tern_error *err)
{
    const int status = check_transfer(stream, to, offset, bytes, err);
    if (status != TERN_OK || bytes == 0) return status;
    return stream->device->backend->fill(stream, to, offset, byte, bytes, err);
}

static int check_limits(const tern_batch_limits *limits, tern_error *err)
{
    if (limits->n_tok > 0 && limits->n_seq > 0 && limits->n_rows >= 0 && limits->n_ctx > 0)
        return TERN_OK;
    return tern_fail(err, TERN_E_USAGE, "batch limits of %d tokens, %d sequences, context %d",
                     limits->n_tok, limits->n_seq, limits->n_ctx);
}

int tern_program_create(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                        const tern_batch_limits *limits, tern_error *err)
{
    int status = check_limits(limits, err);
    for (int i = 0; i < n_ops && status == TERN_OK; i++)
        status = tern_op_check(&ops[i], device, limits, err);
    if (status != TERN_OK) return status;
    const size_t bytes = device->backend->program_bytes(ops, n_ops, limits);
    status = take_bytes(device, bytes, err);
    if (status != TERN_OK) return status;
    tern_program *program = NULL;
    status = device->backend->program_create(&program, device, ops, n_ops, limits, err);
    if (status != TERN_OK) {
        device->used_bytes -= bytes;
        return status;
    }
    program->device = device;
    program->limits = *limits;
    program->bytes = bytes;
    tern_program_needs(program, ops, n_ops);
    *out = program;
    return TERN_OK;
}

int tern_program_run(tern_program *program, tern_stream *stream, const tern_batch *batch,
                     tern_error *err)
{
    if (stream->device != program->device)
        return tern_fail(err, TERN_E_USAGE, "a program of %s cannot run on a stream of %s",
                         program->device->info.name, stream->device->info.name);
    const int status = tern_batch_check(program, batch, err);
    if (status != TERN_OK) return status;
    return program->device->backend->program_run(program, stream, batch, err);
}

void tern_program_destroy(tern_program *program)
{
    if (!program) return;
    program->device->used_bytes -= program->bytes;
    program->device->backend->program_destroy(program);
}
