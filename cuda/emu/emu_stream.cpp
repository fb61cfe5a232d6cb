/* emu_stream.cpp - streams and events. A stream is a queue, and nothing in it is done before
 * someone waits for it or chance has it: a host that reuses a buffer too early, or forgets an
 * event, reads or sends the wrong bytes here too.
 *
 * Memory that is not pinned is treated as the runtime treats it: copies to the device take the
 * bytes when called, copies from it are done when the call returns. The default stream waits for
 * everything and is done at once. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "emu_state.h"

namespace tern_emu_rt {

#define PROGRESS_ODDS 8 /* one call in so many does some of the queued work */

enum emu_item_kind { ITEM_LAUNCH, ITEM_COPY, ITEM_SET, ITEM_RECORD, ITEM_WAIT };

struct emu_rows {
    uint8_t *to;
    const uint8_t *from;
    size_t to_pitch, from_pitch, width, height;
    int value;       /* ITEM_SET */
    uint8_t *staged; /* a copy of `from` in memory of its own, or NULL */
};

struct emu_item {
    emu_item *next;
    emu_item_kind kind;
    emu_launch_desc launch;
    emu_rows rows;
    emu_event *event;
    emu_stream *of;  /* ITEM_WAIT: the stream that records the event */
    uint64_t serial; /* of the record */
    alignas(16) uint8_t bytes[TERN_EMU_ARGS_BYTES]; /* arguments, or a small staged copy */
};

struct emu_stream {
    emu_stream *next;
    emu_device *device;
    emu_item *head, **tail;
};

struct emu_event {
    uint64_t recorded, done; /* serial of the last record that was queued, and that was done */
    emu_stream *stream;      /* of the last record */
    uint64_t done_ns;
    unsigned flags;
};

static emu_item *spare; /* items to use again: a step of a program allocates nothing */
static uint64_t last_serial;

/* ---- doing ----------------------------------------------------------------------------------- */

static void do_rows(const emu_item *item)
{
    const emu_rows *r = &item->rows;
    for (size_t i = 0; i < r->height; i++) {
        uint8_t *to = r->to + i * r->to_pitch;
        if (item->kind == ITEM_SET)
            memset(to, r->value, r->width);
        else
            memcpy(to, r->from + i * r->from_pitch, r->width);
    }
}

static void recycle(emu_item *item)
{
    if (item->rows.staged != item->bytes) free(item->rows.staged);
    item->next = spare;
    spare = item;
}

/* Does the first item of a stream; false if it waits for an event, or there is none. */
static bool do_next(emu_stream *stream)
{
    emu_item *item = stream->head;
    if (!item) return false;
    if (item->kind == ITEM_WAIT && item->event->done < item->serial) return false;
    stream->head = item->next;
    if (!stream->head) stream->tail = &stream->head;
    if (item->kind == ITEM_RECORD) {
        item->event->done = item->serial;
        item->event->done_ns = tern_now_ns();
    } else if (stream->device->error != cudaSuccess) {
        /* after an error nothing is done any more */
    } else if (item->kind == ITEM_LAUNCH) {
        emu_run_kernel(stream->device, &item->launch);
    } else if (item->kind != ITEM_WAIT) {
        do_rows(item);
    }
    recycle(item);
    return true;
}

static void run_until_head(emu_stream *stream);

/* Does a stream's items up to the record with this serial, and what they wait for. */
static void run_until(emu_stream *stream, const emu_event *event, uint64_t serial)
{
    while (stream->head && !(event && event->done >= serial))
        if (!do_next(stream)) run_until_head(stream);
}

/* Does what the first item of a stream, a wait, waits for. */
static void run_until_head(emu_stream *stream)
{
    const emu_item *head = stream->head;
    run_until(head->of, head->event, head->serial);
}

static void run_all(emu_stream *stream)
{
    run_until(stream, nullptr, 0);
}

/* A stream of the device with something to do, by chance; NULL if there is none. */
static emu_stream *choose_stream(emu_device *device)
{
    emu_stream *chosen = nullptr;
    unsigned n = 0;
    for (emu_stream *s = device->streams; s; s = s->next)
        if (s->head && emu_random_below(++n) == 0) chosen = s;
    return chosen;
}

void emu_drain(emu_device *device)
{
    emu_stream *stream;
    while ((stream = choose_stream(device)) != nullptr)
        if (!do_next(stream)) run_until_head(stream);
}

/* ---- queueing -------------------------------------------------------------------------------- */

static emu_item *new_item(emu_item_kind kind)
{
    emu_item *item = spare;
    if (item)
        spare = item->next;
    else if (!(item = (emu_item *)malloc(sizeof *item)))
        return nullptr;
    item->next = nullptr;
    item->kind = kind;
    item->rows = {};
    item->event = nullptr;
    return item;
}

static emu_stream *create(emu_device *device)
{
    emu_stream *stream = (emu_stream *)calloc(1, sizeof *stream);
    if (!stream) return nullptr;
    stream->device = device;
    stream->tail = &stream->head;
    emu_stream **end = &device->streams;
    while (*end) end = &(*end)->next;
    *end = stream;
    return stream;
}

/* The stream to use for a handle; the first of a device is its default stream, made when needed. */
static emu_stream *stream_of(emu_device *device, emu_stream *stream)
{
    if (stream) return stream;
    return device->streams ? device->streams : create(device);
}

static void append(emu_stream *stream, emu_item *item)
{
    const bool is_default = stream == stream->device->streams;
    if (is_default) emu_drain(stream->device);
    *stream->tail = item;
    stream->tail = &item->next;
    if (is_default) run_all(stream);
    while (stream->head && emu_random_below(PROGRESS_ODDS) == 0) {
        emu_stream *chosen = choose_stream(stream->device);
        if (chosen) do_next(chosen);
    }
}

cudaError_t emu_stream_launch(emu_device *device, emu_stream *handle,
                              const emu_launch_desc *launch, size_t args_bytes)
{
    emu_stream *stream = stream_of(device, handle);
    emu_item *item = stream ? new_item(ITEM_LAUNCH) : nullptr;
    if (!item) return cudaErrorMemoryAllocation;
    item->launch = *launch;
    memcpy(item->bytes, launch->args, args_bytes);
    item->launch.args = item->bytes;
    append(stream, item);
    return cudaSuccess;
}

/* Takes the bytes of `from` now. */
static bool stage(emu_item *item)
{
    emu_rows *r = &item->rows;
    const size_t bytes = r->width * r->height;
    r->staged = bytes <= sizeof item->bytes ? item->bytes : (uint8_t *)malloc(bytes);
    if (!r->staged) return false;
    for (size_t i = 0; i < r->height; i++)
        memcpy(r->staged + i * r->width, r->from + i * r->from_pitch, r->width);
    r->from = r->staged;
    r->from_pitch = r->width;
    return true;
}

static size_t extent(size_t pitch, size_t width, size_t height)
{
    return pitch * (height - 1) + width;
}

static cudaError_t queue_rows(emu_item_kind what, const emu_rows *rows, cudaMemcpyKind kind,
                              emu_stream *handle)
{
    emu_device *device = emu_current();
    if (device->error != cudaSuccess) return device->error;
    if (rows->width == 0 || rows->height == 0) return cudaSuccess;
    if (rows->height > 1 && (rows->to_pitch < rows->width ||
                             (what == ITEM_COPY && rows->from_pitch < rows->width)))
        return cudaErrorInvalidPitchValue;
    const size_t to_bytes = extent(rows->to_pitch, rows->width, rows->height);
    const size_t from_bytes = extent(rows->from_pitch, rows->width, rows->height);
    const bool to_device = emu_on_device(device, rows->to, to_bytes);
    const bool from_device = what == ITEM_COPY && emu_on_device(device, rows->from, from_bytes);
    const bool wants_to = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
    const bool wants_from = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
    if (kind != cudaMemcpyDefault && (to_device != wants_to || from_device != wants_from))
        return cudaErrorInvalidValue;
    emu_stream *stream = stream_of(device, handle);
    emu_item *item = stream ? new_item(what) : nullptr;
    if (!item) return cudaErrorMemoryAllocation;
    item->rows = *rows;
    if (what == ITEM_COPY && !from_device && !emu_is_pinned(rows->from, from_bytes) &&
        !stage(item)) {
        recycle(item);
        return cudaErrorMemoryAllocation;
    }
    append(stream, item);
    if (!to_device && !emu_is_pinned(rows->to, to_bytes)) run_all(stream);
    return stream->device->error;
}

cudaError_t cudaMemcpy2DAsync(void *to, size_t to_pitch, const void *from, size_t from_pitch,
                              size_t width, size_t height, cudaMemcpyKind kind,
                              cudaStream_t stream)
{
    EMU_LOCKED;
    const emu_rows rows = {(uint8_t *)to, (const uint8_t *)from, to_pitch, from_pitch,
                           width,         height,                0,        nullptr};
    return emu_result(queue_rows(ITEM_COPY, &rows, kind, stream));
}

cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, cudaMemcpyKind kind,
                            cudaStream_t stream)
{
    return cudaMemcpy2DAsync(to, bytes, from, bytes, bytes, 1, kind, stream);
}

cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, cudaMemcpyKind kind)
{
    return cudaMemcpyAsync(to, from, bytes, kind, nullptr);
}

cudaError_t cudaMemsetAsync(void *to, int value, size_t bytes, cudaStream_t stream)
{
    EMU_LOCKED;
    const emu_rows rows = {(uint8_t *)to, nullptr, bytes, bytes, bytes, 1, value, nullptr};
    return emu_result(queue_rows(ITEM_SET, &rows, cudaMemcpyHostToDevice, stream));
}

cudaError_t cudaMemset(void *to, int value, size_t bytes)
{
    return cudaMemsetAsync(to, value, bytes, nullptr);
}

/* ---- streams --------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    emu_stream *stream = stream_of(device, nullptr) ? create(device) : nullptr;
    if (!stream) return emu_result(cudaErrorMemoryAllocation);
    *out = stream;
    return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t *out)
{
    return cudaStreamCreateWithFlags(out, cudaStreamDefault);
}

cudaError_t cudaStreamDestroy(cudaStream_t stream)
{
    EMU_LOCKED;
    if (!stream) return emu_result(cudaErrorInvalidResourceHandle);
    emu_device *device = stream->device;
    run_all(stream);
    emu_stream **at = &device->streams;
    while (*at != stream) at = &(*at)->next;
    *at = stream->next;
    free(stream);
    return emu_result(device->error);
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle)
{
    EMU_LOCKED;
    emu_stream *stream = stream_of(emu_current(), handle);
    if (!stream) return emu_result(cudaErrorMemoryAllocation);
    if (handle)
        run_all(stream);
    else
        emu_drain(stream->device);
    return emu_result(stream->device->error);
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    EMU_LOCKED;
    emu_stream *stream = stream_of(emu_current(), handle);
    if (!stream) return emu_result(cudaErrorMemoryAllocation);
    if (stream->head && !do_next(stream)) run_until_head(stream);
    if (stream->device->error != cudaSuccess) return emu_result(stream->device->error);
    return stream->head ? cudaErrorNotReady : cudaSuccess;
}

cudaError_t cudaDeviceSynchronize(void)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    emu_drain(device);
    return emu_result(device->error);
}

void emu_streams_reset(emu_device *device)
{
    emu_drain(device);
    while (device->streams) {
        emu_stream *stream = device->streams;
        device->streams = stream->next;
        free(stream);
    }
}

/* ---- events ---------------------------------------------------------------------------------- */

cudaError_t cudaEventCreateWithFlags(cudaEvent_t *out, unsigned flags)
{
    EMU_LOCKED;
    emu_event *event = (emu_event *)calloc(1, sizeof *event);
    if (!event) return emu_result(cudaErrorMemoryAllocation);
    event->flags = flags;
    *out = event;
    return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t *out)
{
    return cudaEventCreateWithFlags(out, cudaEventDefault);
}

cudaError_t cudaEventDestroy(cudaEvent_t event)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    for (int i = 0; i < TERN_EMU_DEVICES; i++) emu_drain(&emu_devices[i]); /* it may be queued */
    free(event);
    return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t handle)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    emu_stream *stream = stream_of(emu_current(), handle);
    emu_item *item = stream ? new_item(ITEM_RECORD) : nullptr;
    if (!item) return emu_result(cudaErrorMemoryAllocation);
    item->event = event;
    item->serial = event->recorded = ++last_serial;
    event->stream = stream;
    append(stream, item);
    return emu_result(stream->device->error);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    if (event->recorded == event->done) return cudaSuccess; /* never recorded, or done */
    emu_stream *stream = stream_of(emu_current(), handle);
    emu_item *item = stream ? new_item(ITEM_WAIT) : nullptr;
    if (!item) return emu_result(cudaErrorMemoryAllocation);
    item->event = event;
    item->of = event->stream;
    item->serial = event->recorded;
    append(stream, item);
    return emu_result(stream->device->error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    if (event->done < event->recorded) run_until(event->stream, event, event->recorded);
    return emu_result(event->stream ? event->stream->device->error : cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    if (event->done == event->recorded) return cudaSuccess;
    if (!do_next(event->stream)) run_until_head(event->stream);
    return event->done == event->recorded ? cudaSuccess : cudaErrorNotReady;
}

cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t begin, cudaEvent_t end)
{
    EMU_LOCKED;
    if (!begin || !end || ((begin->flags | end->flags) & cudaEventDisableTiming) != 0 ||
        !begin->recorded || !end->recorded)
        return emu_result(cudaErrorInvalidResourceHandle);
    if (begin->done < begin->recorded || end->done < end->recorded)
        return emu_result(cudaErrorNotReady);
    *ms = (float)(int64_t)(end->done_ns - begin->done_ns) * 1e-6f;
    return cudaSuccess;
}

} /* namespace tern_emu_rt */
