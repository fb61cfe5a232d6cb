/* check_device.c - a device made of two: the one under examination and the CPU (at the level that
 * TERN_CPU asks for). Buffers, weights and streams exist on both, and every call goes to both.
 * Programs are in check_program.c. */
#include "device/check_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

/* ---- devices and buffers -------------------------------------------------------------------- */

static int check_count(void)
{
    return 0; /* none is listed: they are opened by name */
}

static void check_close(tern_device *base)
{
    check_device *device = (check_device *)base;
    for (int i = 0; i < SIDES; i++) tern_device_close(device->side[i]);
    free(device);
}

int tern_check_open(tern_device **out, const char *name, const tern_device_options *options,
                    tern_error *err)
{
    check_device *device;
    int status = tern_alloc(&device, 1, sizeof *device, "a checking device", err);
    if (status != TERN_OK) return status;
    status = tern_device_open(&device->side[GOT], name, options, err);
    if (status == TERN_OK) status = tern_device_open(&device->side[CPU], "cpu:99", options, err);
    if (status != TERN_OK) {
        check_close(&device->base);
        return status;
    }
    device->base.backend = &tern_backend_check;
    device->base.info = device->side[GOT]->info;
    snprintf(device->base.info.name, sizeof device->base.info.name, "check:%.9s", name);
    *out = &device->base;
    return TERN_OK;
}

static int check_self_test(tern_device *device, tern_error *err)
{
    return tern_device_self_test(((check_device *)device)->side[GOT], err);
}

static void check_buffer_destroy(tern_buffer *base)
{
    check_buffer *buffer = (check_buffer *)base;
    for (int i = 0; i < SIDES; i++) {
        tern_buffer_destroy(buffer->side[i]);
        free(buffer->host[i]);
    }
    free(buffer);
}

static int check_buffer_create(tern_buffer **out, tern_device *device, size_t bytes,
                               tern_error *err)
{
    check_buffer *buffer;
    int status = tern_alloc(&buffer, 1, sizeof *buffer, "a buffer", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < SIDES && status == TERN_OK; i++) {
        status =
            tern_buffer_create(&buffer->side[i], ((check_device *)device)->side[i], bytes, err);
        if (status == TERN_OK) status = tern_alloc(&buffer->host[i], bytes, 1, "a buffer", err);
    }
    if (status != TERN_OK) {
        check_buffer_destroy(&buffer->base);
        return status;
    }
    *out = &buffer->base;
    return TERN_OK;
}

static void *check_buffer_host(tern_buffer *buffer)
{
    (void)buffer;
    return NULL;
}

/* ---- weights -------------------------------------------------------------------------------- */

/* Room for either side, whatever it is: the most that a backend asks for. */
static int check_weight_layout(tern_weight_layout *out, const tern_weight_desc *desc,
                               tern_error *err)
{
    int n;
    const tern_backend *const *backends = tern_backends(&n);
    *out = (tern_weight_layout){.alignment = 1};
    for (int i = 0; i < n; i++) {
        tern_weight_layout one;
        const int status = backends[i]->weight_layout(&one, desc, err);
        if (status != TERN_OK) return status;
        if (one.bytes >= out->bytes) out->bits = one.bits;
        if (one.bytes > out->bytes) out->bytes = one.bytes;
        if (one.alignment > out->alignment) out->alignment = one.alignment;
    }
    out->name = "two copies";
    return TERN_OK;
}

static void check_weight_destroy(tern_weight *base)
{
    check_weight *weight = (check_weight *)base;
    for (int i = 0; i < SIDES; i++) tern_weight_destroy(weight->side[i]);
    free(weight);
}

static int check_weight_create(tern_weight **out, tern_buffer *buffer, size_t offset_bytes,
                               const tern_weight_desc *desc, tern_error *err)
{
    check_weight *weight;
    int status = tern_alloc(&weight, 1, sizeof *weight, "a weight", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < SIDES && status == TERN_OK; i++)
        status = tern_weight_create(&weight->side[i], ((check_buffer *)buffer)->side[i],
                                    offset_bytes, desc, err);
    if (status != TERN_OK) {
        check_weight_destroy(&weight->base);
        return status;
    }
    *out = &weight->base;
    return TERN_OK;
}

static int check_weight_import(tern_weight *weight, const tern_weight_rows *rows, tern_error *err)
{
    int status = TERN_OK;
    for (int i = 0; i < SIDES && status == TERN_OK; i++)
        status = tern_weight_import(((check_weight *)weight)->side[i], rows, err);
    return status;
}

static size_t check_quant_bytes(int t, int k)
{
    int n;
    size_t most = 0;
    const tern_backend *const *backends = tern_backends(&n);
    for (int i = 0; i < n; i++) {
        const size_t bytes = backends[i]->quant_bytes(t, k);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* ---- streams -------------------------------------------------------------------------------- */

static void check_stream_destroy(tern_stream *base)
{
    check_stream *stream = (check_stream *)base;
    for (int i = 0; i < SIDES; i++) tern_stream_destroy(stream->side[i]);
    free(stream);
}

static int check_stream_create(tern_stream **out, tern_device *device, tern_error *err)
{
    check_stream *stream;
    int status = tern_alloc(&stream, 1, sizeof *stream, "a stream", err);
    if (status != TERN_OK) return status;
    for (int i = 0; i < SIDES && status == TERN_OK; i++)
        status = tern_stream_create(&stream->side[i], ((check_device *)device)->side[i], err);
    if (status != TERN_OK) {
        check_stream_destroy(&stream->base);
        return status;
    }
    *out = &stream->base;
    return TERN_OK;
}

static int check_stream_sync(tern_stream *stream, tern_error *err)
{
    for (int i = 0; i < SIDES; i++) {
        const int status = tern_stream_sync(((check_stream *)stream)->side[i], err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

static int check_event_create(tern_event **out, tern_device *device, tern_error *err)
{
    (void)device;
    return tern_alloc(out, 1, sizeof(tern_event), "an event", err);
}

static void check_event_destroy(tern_event *event)
{
    free(event);
}

static int check_event_record(tern_event *event, tern_stream *stream, tern_error *err)
{
    (void)event;
    return check_stream_sync(stream, err);
}

/* What was recorded is complete. */
static int check_event_wait(tern_event *event, tern_stream *stream, tern_error *err)
{
    (void)event;
    (void)stream;
    (void)err;
    return TERN_OK;
}

static int check_upload(tern_stream *stream, tern_buffer *to, size_t offset, const void *from,
                        size_t bytes, tern_error *err)
{
    int status = TERN_OK;
    for (int i = 0; i < SIDES && status == TERN_OK; i++)
        status = tern_upload(((check_stream *)stream)->side[i], ((check_buffer *)to)->side[i],
                             offset, from, bytes, err);
    return status;
}

static int check_download(tern_stream *stream, void *to, const tern_buffer *from, size_t offset,
                          size_t bytes, tern_error *err)
{
    return tern_download(((check_stream *)stream)->side[GOT],
                         to, ((const check_buffer *)from)->side[GOT], offset, bytes, err);
}

static int check_fill(tern_stream *stream, tern_buffer *to, size_t offset, int byte, size_t bytes,
                      tern_error *err)
{
    int status = TERN_OK;
    for (int i = 0; i < SIDES && status == TERN_OK; i++)
        status = tern_fill(((check_stream *)stream)->side[i], ((check_buffer *)to)->side[i], offset,
                           byte, bytes, err);
    return status;
}

const tern_backend tern_backend_check = {
    .kind = "check",
    .count = check_count,
    .close = check_close,
    .self_test = check_self_test,
    .buffer_create = check_buffer_create,
    .buffer_destroy = check_buffer_destroy,
    .buffer_host = check_buffer_host,
    .weight_layout = check_weight_layout,
    .weight_create = check_weight_create,
    .weight_import = check_weight_import,
    .weight_destroy = check_weight_destroy,
    .quant_bytes = check_quant_bytes,
    .stream_create = check_stream_create,
    .stream_destroy = check_stream_destroy,
    .stream_sync = check_stream_sync,
    .event_create = check_event_create,
    .event_destroy = check_event_destroy,
    .event_record = check_event_record,
    .event_wait = check_event_wait,
    .upload = check_upload,
    .download = check_download,
    .fill = check_fill,
    .program_bytes = tern_check_program_bytes,
    .program_create = tern_check_program_create,
    .program_run = tern_check_program_run,
    .program_destroy = tern_check_program_destroy,
};
