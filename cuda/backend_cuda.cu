/* backend_cuda.cu - the CUDA backend behind the device contract: devices, memory, weights, streams
 * and events. Programs are in cuda_program.cu and cuda_run.cu. The same file is the emulator's
 * backend `emu` (kernels.cuh). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

extern "C" {
#include "device/known_answers.h"
}
#include "base/fail.h"
#include "base/memory.h"
#include "cuda/cuda_device.cuh"
#include "cuda/cuda_pack.h"
#include "cuda/energy.h"

namespace TERN_GPU {

#ifdef TERN_EMU
#define KIND "emu"
#else
#define KIND "cuda"
#endif

/* ---- errors --------------------------------------------------------------------------------- */

int gpu_status(cudaError_t status, const char *device, const char *what, tern_error *err)
{
    switch (status) {
    case cudaSuccess: return TERN_OK;
    case cudaErrorMemoryAllocation:
        return tern_fail(err, TERN_E_FIT,
                         "%s has no memory left for %s: close what else uses it, or ask for a "
                         "smaller context or fewer sequences", device, what);
    case cudaErrorNoKernelImageForDevice:
    case cudaErrorInvalidDeviceFunction:
        return tern_fail(err, TERN_E_DEVICE,
                         "%s: this build has no kernels for its architecture: build again with "
                         "CMAKE_CUDA_ARCHITECTURES naming it, or use --device cpu", device);
    default:
        return tern_fail(err, TERN_E_DEVICE,
                         "%s failed in %s: %s (%s); what it was doing is lost, the CPU still works",
                         device, what, cudaGetErrorString(status), cudaGetErrorName(status));
    }
}

void gpu_stream_error(tern_stream *stream, cudaError_t status, const char *what)
{
    tern_error err;
    if (gpu_status(status, stream->device->info.name, what, &err) != TERN_OK)
        tern_stream_fail(stream, err.status, "%s", err.text);
}

/* Why there is no device of this number, as a sentence. */
static int no_device(int index, cudaError_t status, int count, tern_error *err)
{
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    if (driver == 0)
        return tern_fail(err, TERN_E_DEVICE,
                         KIND ":%d: no NVIDIA driver is installed on this machine: install one, or "
                         "use --device cpu", index);
    if (status == cudaErrorInsufficientDriver)
        return tern_fail(err, TERN_E_DEVICE,
                         KIND ":%d: the NVIDIA driver supports CUDA %d.%d and this build needs "
                         "%d.%d: update the driver, or use --device cpu", index, driver / 1000,
                         driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
    if (status != cudaSuccess && status != cudaErrorNoDevice) {
        char name[16];
        snprintf(name, sizeof name, KIND ":%u", (unsigned)index % 100u);
        return gpu_status(status, name, "the look for devices", err);
    }
    return tern_fail(err, TERN_E_DEVICE,
                     "there is no device " KIND ":%d: this machine has %d; `tern devices` lists "
                     "them", index, count);
}

/* ---- devices -------------------------------------------------------------------------------- */

static int gpu_count(void)
{
    int n = 0;
    return cudaGetDeviceCount(&n) == cudaSuccess ? n : 0;
}

static int gpu_info(tern_device_info *out, int index, tern_error *err)
{
    int n = 0;
    const cudaError_t counted = cudaGetDeviceCount(&n);
    if (counted != cudaSuccess || index >= n) return no_device(index, counted, n, err);
    cudaDeviceProp properties;
    cudaError_t status = cudaGetDeviceProperties(&properties, index);
    if (status == cudaSuccess) status = cudaSetDevice(index);
    size_t free_bytes = 0, total_bytes = 0;
    if (status == cudaSuccess) status = cudaMemGetInfo(&free_bytes, &total_bytes);
    memset(out, 0, sizeof *out);
    snprintf(out->name, sizeof out->name, KIND ":%u", (unsigned)index % 100u);
    if (status != cudaSuccess) return gpu_status(status, out->name, "a look at the device", err);
    snprintf(out->hardware, sizeof out->hardware, "%.63s", properties.name);
    snprintf(out->level, sizeof out->level, "sm_%d%d", properties.major, properties.minor);
    out->memory_bytes = total_bytes;
    out->free_bytes = free_bytes;
    return TERN_OK;
}

static void gpu_close(tern_device *base)
{
    gpu_device *device = (gpu_device *)base;
    if (!device) return;
    enter(base);
    if (device->staging) cudaFreeHost(device->staging);
    if (device->setup) cudaStreamDestroy(device->setup);
    free(device);
}

enum { N_FEATURES = 4 };

/* What TERN_CUDA_OFF names is not done, of what the device can: `wgmma`, `graphs`, `dependent`
 * (launches), `fusion`, separated by commas. For measurements of one against the other; results are
 * the same. */
static int choose_features(gpu_device *device, tern_error *err)
{
    static const char *const names[N_FEATURES] = {"wgmma", "graphs", "dependent", "fusion"};
    const char *off = getenv("TERN_CUDA_OFF");
    bool without[N_FEATURES] = {};
    for (const char *name = off; name && *name;) {
        const size_t length = strcspn(name, ",");
        int i = 0;
        while (i < N_FEATURES &&
               (strlen(names[i]) != length || strncmp(name, names[i], length) != 0)) i++;
        if (i == N_FEATURES)
            return tern_fail(err, TERN_E_USAGE,
                             "TERN_CUDA_OFF is '%s': use wgmma, graphs, dependent, fusion, or some "
                             "of them with commas",
                             off);
        without[i] = true;
        name += length + (name[length] == ',');
    }
    if (without[0]) device->to.wgmma = 0;
    device->graphs = !without[1];
    device->fusion = !without[3];
    device->to.dependent = device->to.arch >= 90 && !without[2];
    return TERN_OK;
}

static int gpu_open(tern_device **out, int index, const tern_device_options *options,
                    tern_error *err)
{
    (void)options; /* threads are the CPU's, the budget is kept by the wrapper */
    gpu_device *device;
    int status = tern_alloc(&device, 1, sizeof *device, "a GPU device", err);
    if (status != TERN_OK) return status;
    device->index = index;
    status = gpu_info(&device->base.info, index, err);
    if (status != TERN_OK) {
        free(device);
        return status;
    }
    const char *name = device->base.info.name;
    cudaDeviceProp properties;
    cudaError_t error = cudaGetDeviceProperties(&properties, index);
    device->to.n_sm = properties.multiProcessorCount;
    device->to.arch = 10 * properties.major + properties.minor;
    device->to.smem_bytes = (int)properties.sharedMemPerBlockOptin;
    if (error == cudaSuccess && device->to.arch < 75) {
        gpu_close(&device->base);
        return tern_fail(err, TERN_E_DEVICE,
                         KIND ":%d is a GPU of compute capability %d.%d, and 7.5 is the oldest "
                         "that Tern knows: use --device cpu", index, properties.major,
                         properties.minor);
    }
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&device->setup, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaMallocHost((void **)&device->staging, STAGING_BYTES);
    device->to.stream = device->setup;
    if (error == cudaSuccess) error = probe_wgmma(&device->to.wgmma, device->to);
    status = gpu_status(error, name, "opening", err);
    if (status == TERN_OK) status = choose_features(device, err);
    if (status != TERN_OK) {
        gpu_close(&device->base);
        return status;
    }
    *out = &device->base;
    return TERN_OK;
}

static int gpu_self_test(tern_device *device, tern_error *err)
{
    return tern_known_answers(device, err);
}

/* ---- memory --------------------------------------------------------------------------------- */

static int gpu_buffer_create(tern_buffer **out, tern_device *device, size_t bytes, tern_error *err)
{
    gpu_buffer *buffer;
    int status = tern_alloc(&buffer, 1, sizeof *buffer, "a buffer", err);
    if (status != TERN_OK) return status;
    char what[64];
    snprintf(what, sizeof what, "%zu bytes", bytes);
    cudaStream_t setup = ((gpu_device *)device)->setup;
    cudaError_t error = enter(device);
    if (error == cudaSuccess) error = cudaMalloc((void **)&buffer->data, bytes ? bytes : 1);
    if (error == cudaSuccess) error = cudaMemsetAsync(buffer->data, 0, bytes, setup);
    if (error == cudaSuccess) error = cudaStreamSynchronize(setup);
    status = gpu_status(error, device->info.name, what, err);
    if (status != TERN_OK) {
        if (buffer->data) cudaFree(buffer->data);
        if (error == cudaErrorMemoryAllocation) cudaGetLastError(); /* not sticky: forget it */
        free(buffer);
        return status;
    }
    *out = &buffer->base;
    return TERN_OK;
}

static void gpu_buffer_destroy(tern_buffer *buffer)
{
    enter(buffer->device);
    cudaFree(((gpu_buffer *)buffer)->data);
    free(buffer);
}

static void *gpu_buffer_host(tern_buffer *buffer)
{
    (void)buffer;
    return NULL;
}

/* ---- weights -------------------------------------------------------------------------------- */

static int gpu_weight_create(tern_weight **out, tern_buffer *buffer, size_t offset_bytes,
                             const tern_weight_desc *desc, tern_error *err)
{
    gpu_weight *weight;
    const int status = tern_alloc(&weight, 1, sizeof *weight, "a weight", err);
    if (status != TERN_OK) return status;
    weight->data = ((gpu_buffer *)buffer)->data + offset_bytes;
    weight->parts = tern_cuda_weight_parts_of(desc);
    *out = &weight->base;
    return TERN_OK;
}

static void gpu_weight_destroy(tern_weight *weight)
{
    free(weight);
}

/* One run of an import: rows packed into the staging memory, then copied. */
static cudaError_t copy_staged(gpu_device *device, uint8_t *to, size_t bytes)
{
    const cudaError_t error =
        cudaMemcpyAsync(to, device->staging, bytes, cudaMemcpyHostToDevice, device->setup);
    return error == cudaSuccess ? cudaStreamSynchronize(device->setup) : error;
}

static cudaError_t copy_floats(gpu_device *device, uint8_t *to, const float *from, size_t n)
{
    const cudaError_t error = cudaMemcpyAsync(to, from, n * sizeof(float), cudaMemcpyHostToDevice,
                                              device->setup);
    return error == cudaSuccess ? cudaStreamSynchronize(device->setup) : error;
}

/* What is packed: codes of the host layout, or one plane of a table. */
struct import_source {
    const uint8_t *codes;
    const int8_t *plane;
};

/* Row groups of 16, as many at a time as the staging memory holds. */
static cudaError_t import_rows(gpu_weight *weight, const tern_weight_rows *rows,
                               import_source source, size_t part)
{
    gpu_device *device = (gpu_device *)weight->base.buffer->device;
    const int k = weight->base.desc.k;
    size_t (*const bytes_of)(int, int) =
        source.codes ? tern_cuda_ternary_bytes : tern_cuda_plane_bytes;
    const int step = (int)(STAGING_BYTES / bytes_of(TERN_CUDA_ROWS, k)) * TERN_CUDA_ROWS;
    if (step == 0) return cudaErrorInvalidValue;
    uint8_t *to = weight->data + part + bytes_of(rows->row0, k);
    for (int row = 0; row < rows->rows; row += step) {
        const int n = rows->rows - row < step ? rows->rows - row : step;
        if (source.codes)
            tern_cuda_pack_ternary(device->staging, source.codes + tern_ternary_host_bytes(row, k),
                                   n, k);
        else
            tern_cuda_pack_plane((int8_t *)device->staging,
                                 source.plane + (size_t)row * (size_t)k, n, k);
        const cudaError_t error = copy_staged(device, to + bytes_of(row, k), bytes_of(n, k));
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}

static int gpu_weight_import(tern_weight *base, const tern_weight_rows *rows, tern_error *err)
{
    gpu_weight *weight = (gpu_weight *)base;
    gpu_device *device = (gpu_device *)base->buffer->device;
    const tern_cuda_weight_parts *parts = &weight->parts;
    const int table = base->desc.use == TERN_USE_TABLE;
    cudaError_t error = enter(&device->base);
    if (error == cudaSuccess)
        error = import_rows(weight, rows,
                            import_source{table ? NULL : rows->codes, table ? rows->high : NULL},
                            0);
    if (error == cudaSuccess && table && base->desc.head_type == TERN_HEAD_I16)
        error = import_rows(weight, rows, import_source{NULL, rows->low}, parts->low);
    if (error == cudaSuccess)
        error = copy_floats(device,
                            weight->data + parts->scale + (size_t)rows->row0 * sizeof(float),
                            rows->scale, (size_t)rows->rows);
    if (error == cudaSuccess && table && rows->col)
        error = copy_floats(device, weight->data + parts->col, rows->col, (size_t)base->desc.k);
    return gpu_status(error, device->base.info.name, "an import of weights", err);
}

/* ---- streams and events --------------------------------------------------------------------- */

static void gpu_stream_destroy(tern_stream *base)
{
    gpu_stream *stream = (gpu_stream *)base;
    enter(base->device);
    if (stream->stream) {
        cudaStreamSynchronize(stream->stream);
        cudaStreamDestroy(stream->stream);
    }
    if (stream->fault) cudaFree(stream->fault);
    if (stream->fault_host) cudaFreeHost(stream->fault_host);
    free(stream);
}

static int gpu_stream_create(tern_stream **out, tern_device *device, tern_error *err)
{
    gpu_stream *stream;
    int status = tern_alloc(&stream, 1, sizeof *stream, "a stream", err);
    if (status != TERN_OK) return status;
    stream->base.device = device;
    cudaError_t error = enter(device);
    if (error == cudaSuccess)
        error = cudaStreamCreateWithFlags(&stream->stream, cudaStreamNonBlocking);
    if (error == cudaSuccess) error = cudaMalloc((void **)&stream->fault, sizeof *stream->fault);
    if (error == cudaSuccess)
        error = cudaMallocHost((void **)&stream->fault_host, sizeof *stream->fault_host);
    if (error == cudaSuccess)
        error = cudaMemsetAsync(stream->fault, 0, sizeof *stream->fault, stream->stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream->stream);
    status = gpu_status(error, device->info.name, "a stream", err);
    if (status != TERN_OK) {
        gpu_stream_destroy(&stream->base);
        return status;
    }
    *out = &stream->base;
    return TERN_OK;
}

/* Everything issued is done afterwards; a fault word or an error of the runtime becomes sticky. */
static int gpu_stream_sync(tern_stream *base, tern_error *err)
{
    (void)err; /* the wrapper returns the sticky status */
    gpu_stream *stream = (gpu_stream *)base;
    cudaError_t error = enter(base->device);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(stream->fault_host, stream->fault, sizeof *stream->fault,
                                cudaMemcpyDeviceToHost, stream->stream);
    if (error == cudaSuccess) error = cudaStreamSynchronize(stream->stream);
    if (error != cudaSuccess)
        gpu_stream_error(base, error, "a step");
    else if (*stream->fault_host)
        gpu_stream_fault(base, *stream->fault_host);
    return TERN_OK;
}

static int gpu_event_create(tern_event **out, tern_device *device, tern_error *err)
{
    gpu_event *event;
    int status = tern_alloc(&event, 1, sizeof *event, "an event", err);
    if (status != TERN_OK) return status;
    cudaError_t error = enter(device);
    if (error == cudaSuccess)
        error = cudaEventCreateWithFlags(&event->event, cudaEventDisableTiming);
    status = gpu_status(error, device->info.name, "an event", err);
    if (status != TERN_OK) {
        free(event);
        return status;
    }
    *out = &event->base;
    return TERN_OK;
}

static void gpu_event_destroy(tern_event *event)
{
    enter(event->device);
    cudaEventDestroy(((gpu_event *)event)->event);
    free(event);
}

static int gpu_event_record(tern_event *event, tern_stream *stream, tern_error *err)
{
    cudaError_t error = enter(event->device);
    if (error == cudaSuccess)
        error = cudaEventRecord(((gpu_event *)event)->event, ((gpu_stream *)stream)->stream);
    return gpu_status(error, event->device->info.name, "an event", err);
}

/* A stream of this backend waits on the device; any other one has the host wait. */
static int gpu_event_wait(tern_event *event, tern_stream *stream, tern_error *err)
{
    cudaError_t error = enter(event->device);
    if (error == cudaSuccess && stream->device->backend == event->device->backend)
        error = cudaStreamWaitEvent(((gpu_stream *)stream)->stream, ((gpu_event *)event)->event, 0);
    else if (error == cudaSuccess)
        error = cudaEventSynchronize(((gpu_event *)event)->event);
    return gpu_status(error, event->device->info.name, "a wait for an event", err);
}

/* ---- transfers ------------------------------------------------------------------------------ */

static int gpu_upload(tern_stream *stream, tern_buffer *to, size_t offset, const void *from,
                      size_t bytes, tern_error *err)
{
    cudaError_t error = enter(stream->device);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(((gpu_buffer *)to)->data + offset, from, bytes,
                                cudaMemcpyHostToDevice, ((gpu_stream *)stream)->stream);
    return gpu_status(error, stream->device->info.name, "a copy to the device", err);
}

static int gpu_download(tern_stream *stream, void *to, const tern_buffer *from, size_t offset,
                        size_t bytes, tern_error *err)
{
    cudaError_t error = enter(stream->device);
    if (error == cudaSuccess)
        error = cudaMemcpyAsync(to, ((const gpu_buffer *)from)->data + offset, bytes,
                                cudaMemcpyDeviceToHost, ((gpu_stream *)stream)->stream);
    return gpu_status(error, stream->device->info.name, "a copy from the device", err);
}

static int gpu_fill(tern_stream *stream, tern_buffer *to, size_t offset, int byte, size_t bytes,
                    tern_error *err)
{
    cudaError_t error = enter(stream->device);
    if (error == cudaSuccess)
        error = cudaMemsetAsync(((gpu_buffer *)to)->data + offset, byte, bytes,
                                ((gpu_stream *)stream)->stream);
    return gpu_status(error, stream->device->info.name, "a fill", err);
}

#ifndef TERN_EMU
static int gpu_energy(uint64_t *mj, tern_device *device, tern_error *err)
{
    char id[32];
    const cudaError_t error =
        cudaDeviceGetPCIBusId(id, (int)sizeof id, ((gpu_device *)device)->index);
    if (error != cudaSuccess)
        return gpu_status(error, device->info.name, "the question for its PCI bus id", err);
    tern_energy *energy;
    int status = tern_energy_open(&energy, id, err);
    if (status != TERN_OK) return status;
    status = tern_energy_read(mj, energy, err);
    tern_energy_close(energy);
    return status;
}
#endif

} /* namespace TERN_GPU */

using namespace TERN_GPU;

#ifdef TERN_EMU
#define BACKEND tern_backend_emu
#define GPU_ENERGY NULL
#else
#define BACKEND tern_backend_cuda
#define GPU_ENERGY gpu_energy
#endif
extern "C" {
extern const tern_backend BACKEND;
const tern_backend BACKEND = {
    .kind = KIND,
    .count = gpu_count,
    .info = gpu_info,
    .open = gpu_open,
    .close = gpu_close,
    .self_test = gpu_self_test,
    .buffer_create = gpu_buffer_create,
    .buffer_destroy = gpu_buffer_destroy,
    .buffer_host = gpu_buffer_host,
    .weight_layout = tern_cuda_weight_layout,
    .weight_create = gpu_weight_create,
    .weight_import = gpu_weight_import,
    .weight_destroy = gpu_weight_destroy,
    .quant_bytes = tern_cuda_quant_bytes,
    .stream_create = gpu_stream_create,
    .stream_destroy = gpu_stream_destroy,
    .stream_sync = gpu_stream_sync,
    .event_create = gpu_event_create,
    .event_destroy = gpu_event_destroy,
    .event_record = gpu_event_record,
    .event_wait = gpu_event_wait,
    .upload = gpu_upload,
    .download = gpu_download,
    .fill = gpu_fill,
    .program_bytes = tern_cuda_program_bytes,
    .program_create = gpu_program_create,
    .program_run = gpu_program_run,
    .program_destroy = gpu_program_destroy,
    .rates = gpu_rates,
    .energy = GPU_ENERGY,
};
}
