/* emu_queue.h - what stands in a stream. Private to cuda/emu: emu_stream.cpp does the items,
 * emu_transfer.cpp and emu_event.cpp make them. */
#ifndef TERN_EMU_QUEUE_H
#define TERN_EMU_QUEUE_H

#include "emu_state.h"

namespace tern_emu_rt {

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
    emu_graph *capture;  /* where launches go instead, or NULL */
};

/* Launches in their order. */
struct emu_graph {
    emu_item *head, **tail;
    bool broken;         /* something was asked for that is not captured */
};

/* True while the stream is captured, which the call at hand then breaks. */
bool emu_breaks_capture(emu_stream *stream);

struct emu_event {
    uint64_t recorded, done; /* serial of the last record that was queued, and that was done */
    emu_stream *stream;      /* of the last record */
    uint64_t done_ns;
    unsigned flags;
};

/* A new item, from those that are done where there is one; NULL when memory is out. */
emu_item *emu_item_new(emu_item_kind kind);
void emu_item_recycle(emu_item *item);

/* The stream to use for a handle: NULL is the device's default stream. NULL when memory is out. */
emu_stream *emu_stream_of(emu_device *device, emu_stream *handle);

/* Queues an item; chance may do some of the queued work at once. */
void emu_append(emu_stream *stream, emu_item *item);

/* Does a stream's items up to the record with this serial, and what they wait for; with event NULL
 * all of them. */
void emu_run_until(emu_stream *stream, const emu_event *event, uint64_t serial);

/* Does the first item of a stream that has one, or what it waits for. */
void emu_progress(emu_stream *stream);

/* Does an ITEM_COPY or ITEM_SET. */
void emu_do_rows(const emu_item *item);

} /* namespace tern_emu_rt */
#endif
