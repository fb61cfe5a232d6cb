/* emu_transfer.cpp - copies and fills, queued in streams.
 *
 * Memory that is not pinned is treated as the runtime treats it: copies to the device take the
 * bytes when called, copies from it are done when the call returns. */
#include <stdlib.h>
#include <string.h>

#include "emu_queue.h"

namespace tern_emu_rt {

void emu_do_rows(const emu_item *item)
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
    emu_stream *stream = emu_stream_of(device, handle);
    if (stream && emu_breaks_capture(stream)) return cudaErrorStreamCaptureUnsupported;
    emu_item *item = stream ? emu_item_new(what) : nullptr;
    if (!item) return cudaErrorMemoryAllocation;
    item->rows = *rows;
    if (what == ITEM_COPY && !from_device && !emu_is_pinned(rows->from, from_bytes) &&
        !stage(item)) {
        emu_item_recycle(item);
        return cudaErrorMemoryAllocation;
    }
    emu_append(stream, item);
    if (!to_device && !emu_is_pinned(rows->to, to_bytes)) emu_run_until(stream, nullptr, 0);
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

} /* namespace tern_emu_rt */
