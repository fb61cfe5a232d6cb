/* emu_stream.cpp - streams. A stream is a queue, and nothing in it is done before
 * someone waits for it or chance has it: a host that reuses a buffer too early, or forgets an
 * event, reads or sends the wrong bytes here too.
 *
 * The default stream waits for everything and is done at once. */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "emu_queue.h"

namespace tern_emu_rt {

#define PROGRESS_ODDS 8 /* one call in so many does some of the queued work */

static emu_item *spare; /* items to use again: a step of a program allocates nothing */

/* ---- doing ----------------------------------------------------------------------------------- */

void emu_item_recycle(emu_item *item)
{
    if (item->rows.staged != item->bytes) free(item->rows.staged);
    item->next = spare;
    spare = item;
}

static emu_item *take_item(emu_stream *stream)
{
    emu_item *item = stream->head;
    stream->head = item->next;
    if (!stream->head) stream->tail = &stream->head;
    return item;
}

/* Runs a kernel, together with as many dependent ones behind it as the seed chooses. */
static void do_launch(emu_stream *stream, const emu_item *item)
{
    emu_device *device = stream->device;
    const emu_launch_desc *launches[EMU_MAX_CHAIN] = {&item->launch};
    emu_item *taken[EMU_MAX_CHAIN];
    int n = 1;
    const int most = 1 + (int)emu_random_below(EMU_MAX_CHAIN);
    while (n < most && stream->head && stream->head->kind == ITEM_LAUNCH &&
           stream->head->launch.dependent) {
        taken[n] = take_item(stream);
        launches[n] = &taken[n]->launch;
        n++;
    }
    emu_run_chain(device, launches, n);
    while (n > 1) emu_item_recycle(taken[--n]);
    if (emu_fault_strikes(TERN_EMU_DEVICE_LOST))
        emu_device_fails(device, cudaErrorECCUncorrectable, "the device was lost, as asked for");
}

/* Does the first item of a stream; false if it waits for an event, or there is none. */
static bool do_next(emu_stream *stream)
{
    if (!stream->head) return false;
    if (stream->head->kind == ITEM_WAIT && stream->head->event->done < stream->head->serial)
        return false;
    emu_item *item = take_item(stream);
    if (item->kind == ITEM_RECORD) {
        item->event->done = item->serial;
        item->event->done_ns = tern_now_ns();
    } else if (stream->device->error != cudaSuccess) {
        /* after an error nothing is done any more */
    } else if (item->kind == ITEM_LAUNCH) {
        do_launch(stream, item);
    } else if (item->kind != ITEM_WAIT) {
        emu_do_rows(item);
    }
    emu_item_recycle(item);
    return true;
}

static void run_until_head(emu_stream *stream);

void emu_run_until(emu_stream *stream, const emu_event *event, uint64_t serial)
{
    while (stream->head && !(event && event->done >= serial))
        if (!do_next(stream)) run_until_head(stream);
}

/* Does what the first item of a stream, a wait, waits for. */
static void run_until_head(emu_stream *stream)
{
    const emu_item *head = stream->head;
    emu_run_until(head->of, head->event, head->serial);
}

void emu_progress(emu_stream *stream)
{
    if (!do_next(stream)) run_until_head(stream);
}

static void run_all(emu_stream *stream)
{
    emu_run_until(stream, nullptr, 0);
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
        emu_progress(stream);
}

/* ---- queueing -------------------------------------------------------------------------------- */

emu_item *emu_item_new(emu_item_kind kind)
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

/* The first stream of a device is its default one, made when needed. */
emu_stream *emu_stream_of(emu_device *device, emu_stream *stream)
{
    if (stream) return stream;
    return device->streams ? device->streams : create(device);
}

void emu_append(emu_stream *stream, emu_item *item)
{
    if (stream->capture) {
        *stream->capture->tail = item;
        stream->capture->tail = &item->next;
        return;
    }
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
    emu_stream *stream = emu_stream_of(device, handle);
    emu_item *item = stream ? emu_item_new(ITEM_LAUNCH) : nullptr;
    if (!item) return cudaErrorMemoryAllocation;
    item->launch = *launch;
    memcpy(item->bytes, launch->args, args_bytes);
    item->launch.args = item->bytes;
    emu_append(stream, item);
    return cudaSuccess;
}

/* ---- streams --------------------------------------------------------------------------------- */

cudaError_t cudaStreamCreateWithFlags(cudaStream_t *out, unsigned)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    emu_stream *stream = emu_stream_of(device, nullptr) ? create(device) : nullptr;
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
    if (emu_breaks_capture(stream)) return emu_result(cudaErrorStreamCaptureUnsupported);
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
    emu_stream *stream = emu_stream_of(emu_current(), handle);
    if (!stream) return emu_result(cudaErrorMemoryAllocation);
    if (emu_breaks_capture(stream)) return emu_result(cudaErrorStreamCaptureUnsupported);
    if (handle)
        run_all(stream);
    else
        emu_drain(stream->device);
    return emu_result(stream->device->error);
}

cudaError_t cudaStreamQuery(cudaStream_t handle)
{
    EMU_LOCKED;
    emu_stream *stream = emu_stream_of(emu_current(), handle);
    if (!stream) return emu_result(cudaErrorMemoryAllocation);
    if (stream->head) emu_progress(stream);
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

} /* namespace tern_emu_rt */
