/* emu_event.cpp - events: a record is an item that notes its serial number when it is done, a wait
 * one that is not done before. */
#include <stdlib.h>

#include "emu_queue.h"

namespace tern_emu_rt {

static uint64_t last_serial;

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
    emu_stream *stream = emu_stream_of(emu_current(), handle);
    if (stream && emu_breaks_capture(stream)) return emu_result(cudaErrorStreamCaptureUnsupported);
    emu_item *item = stream ? emu_item_new(ITEM_RECORD) : nullptr;
    if (!item) return emu_result(cudaErrorMemoryAllocation);
    item->event = event;
    item->serial = event->recorded = ++last_serial;
    event->stream = stream;
    emu_append(stream, item);
    return emu_result(stream->device->error);
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event, unsigned)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    if (event->recorded == event->done) return cudaSuccess; /* never recorded, or done */
    emu_stream *stream = emu_stream_of(emu_current(), handle);
    emu_item *item = stream ? emu_item_new(ITEM_WAIT) : nullptr;
    if (!item) return emu_result(cudaErrorMemoryAllocation);
    item->event = event;
    item->of = event->stream;
    item->serial = event->recorded;
    emu_append(stream, item);
    return emu_result(stream->device->error);
}

cudaError_t cudaEventSynchronize(cudaEvent_t event)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    if (event->done < event->recorded) emu_run_until(event->stream, event, event->recorded);
    return emu_result(event->stream ? event->stream->device->error : cudaSuccess);
}

cudaError_t cudaEventQuery(cudaEvent_t event)
{
    EMU_LOCKED;
    if (!event) return emu_result(cudaErrorInvalidResourceHandle);
    if (event->done == event->recorded) return cudaSuccess;
    emu_progress(event->stream);
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
