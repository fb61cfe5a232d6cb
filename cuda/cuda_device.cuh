/* cuda_device.cuh - the objects of the CUDA backend, shared by its host files, and how an error of
 * the CUDA runtime becomes a sentence. */
#ifndef TERN_CUDA_DEVICE_CUH
#define TERN_CUDA_DEVICE_CUH

#include "cuda/kernels.cuh"
#include "cuda/cuda_program_layout.h"
#include "device/backend.h"

namespace TERN_GPU {

/* Host memory for packing weights before they are copied. */
#define STAGING_BYTES ((size_t)4 << 20)

struct gpu_device {
    tern_device base;
    int index;
    cudaStream_t setup;  /* zeroing and imports; synchronised inside the calls that use it */
    uint8_t *staging;    /* pinned, STAGING_BYTES */
    target to;           /* its stream is set per launch */
    bool graphs;         /* decode steps are replayed as graphs */
    bool fusion;         /* neighbours are one kernel for one token (fusion.h) */
};

struct gpu_buffer {
    tern_buffer base;
    uint8_t *data;
};

struct gpu_weight {
    tern_weight base;
    uint8_t *data;
    tern_cuda_weight_parts parts;
};

struct gpu_stream {
    tern_stream base;
    cudaStream_t stream;
    unsigned long long *fault;      /* in device memory: the first fault since the last sync */
    unsigned long long *fault_host; /* pinned, where sync reads it */
};

struct gpu_event {
    tern_event base;
    cudaEvent_t event;
};

/* Address of a span's first byte; NULL for no operand. */
static inline uint8_t *at(const tern_span *span)
{
    return span->buffer ? ((gpu_buffer *)span->buffer)->data + span->offset_bytes : NULL;
}

/* Makes a device current for the calls of this thread. */
static inline cudaError_t enter(const tern_device *device)
{
    return cudaSetDevice(((const gpu_device *)device)->index);
}

/* TERN_OK, or TERN_E_DEVICE with what was attempted and what the runtime answered. */
int gpu_status(cudaError_t status, const char *device, const char *what, tern_error *err);

/* The same, kept by the stream: it comes back at the next sync. */
void gpu_stream_error(tern_stream *stream, cudaError_t status, const char *what);

/* What a fault word means (program.cu packs it), kept by the stream. */
void gpu_stream_fault(tern_stream *stream, unsigned long long word);

/* Entries of the backend table: the device's limits measured (gpu_rates.cu), its energy counter. */
int gpu_rates(tern_rates *out, tern_device *device, tern_error *err);

/* The program entries of the backend table (cuda_program.cu, cuda_run.cu). */
int gpu_program_create(tern_program **out, tern_device *device, const tern_op *ops, int n_ops,
                       const tern_batch_limits *limits, tern_error *err);
int gpu_program_run(tern_program *program, tern_stream *stream, const tern_batch *batch,
                    tern_error *err);
void gpu_program_destroy(tern_program *program);

} /* namespace TERN_GPU */
#endif
