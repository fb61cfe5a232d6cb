/* backend.h - what the wrappers and every backend share: the first members of each object, the host
 * layouts, and the list of backends. A backend's own struct begins with the struct of this file. */
#ifndef TERN_DEVICE_BACKEND_H
#define TERN_DEVICE_BACKEND_H

#include "tern/device.h"

#ifdef __cplusplus
extern "C" {
#endif

struct tern_device {
    const tern_backend *backend;
    tern_device_info info;
    uint64_t budget_bytes; /* 0: none */
    uint64_t used_bytes;   /* buffers and programs alive; kept by the wrappers */
};

struct tern_buffer {
    tern_device *device;
    size_t bytes;
};

struct tern_weight {
    tern_buffer *buffer;
    size_t offset_bytes;
    tern_weight_desc desc;
};

struct tern_stream {
    tern_device *device;
    tern_error sticky; /* status 0: fine */
};

struct tern_event {
    tern_device *device;
};

struct tern_program {
    tern_device *device;
    tern_batch_limits limits;
    size_t bytes;              /* of device memory it holds */
    int n_pages;               /* fewest pages of a pool it uses; INT_MAX without one */
    int n_vocab;               /* smallest vocabulary it uses; INT_MAX without one */
    int needs_pick, needs_target;
};

/* Sets the stream's sticky error unless there is one already. */
#if defined(__GNUC__)
__attribute__((format(printf, 3, 4)))
#endif
void tern_stream_fail(tern_stream *stream, int status, const char *format, ...);

/* What kernels may find, as the stream's sticky error: the same words from every backend. */
void tern_stream_fault_id(tern_stream *stream, tern_op_kind kind, int n_vocab);
void tern_stream_fault_not_finite(tern_stream *stream, tern_op_kind kind, int layer);

/* Columns of a row after padding, in the host layouts and in quantised activations. */
static inline int tern_pad_k(int k)
{
    return (k + TERN_PAD_K - 1) / TERN_PAD_K * TERN_PAD_K;
}

/* Where an operation stands, for sentences: "LINEAR of layer 3", or "HEAD" outside of layers. */
#define TERN_PLACE_BYTES 48
const char *tern_op_place(char text[TERN_PLACE_BYTES], tern_op_kind kind, int layer);

/* The tables of all backends compiled in; n is their number. */
const tern_backend *const *tern_backends(int *n);

/* Operand check of one operation against the limits; TERN_E_USAGE names operation and operand. */
int tern_op_check(const tern_op *op, const tern_device *device, const tern_batch_limits *limits,
                  tern_error *err);

/* What the operations of a program need of a batch, into the program. */
void tern_program_needs(tern_program *program, const tern_op *ops, int n_ops);

/* Every index of a batch against the program's limits and needs; TERN_E_USAGE names the first wrong
 * one. */
int tern_batch_check(const tern_program *program, const tern_batch *batch, tern_error *err);

#ifdef __cplusplus
}
#endif
#endif
