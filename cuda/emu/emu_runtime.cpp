/* emu_runtime.cpp - the devices of the emulator, their errors, the switches of emu_control.h. */
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/fail.h"
#include "emu_state.h"

namespace tern_emu_rt {

/* emu:0 is a small sm_90, emu:1 a small sm_75: limits of "Compute Capabilities" in the CUDA
 * programming guide, 3 SMs each, so that grids neither fit nor divide. */
static emu_device device_like(int arch)
{
    emu_device d = {};
    const bool hopper = arch == 90;
    d.arch = arch;
    d.n_sm = 3;
    d.smem_per_sm = (hopper ? 228 : 64) * 1024;
    d.smem_per_cta = (hopper ? 227 : 64) * 1024;
    d.smem_reserved = hopper ? 1024 : 0;
    d.threads_per_sm = hopper ? 2048 : 1024;
    d.ctas_per_sm = hopper ? 32 : 16;
    d.total_bytes = (size_t)4 << 30;
    return d;
}

emu_device emu_devices[TERN_EMU_DEVICES] = {device_like(90), device_like(75)};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t random_state;
static __thread int current_device;
static __thread cudaError_t last_error;

int emu_lock(void)
{
    pthread_mutex_lock(&lock);
    return 0;
}

void emu_unlock(int *)
{
    pthread_mutex_unlock(&lock);
}

/* SplitMix64 (Steele, Lea, Flood 2014): a counter, mixed. */
uint64_t emu_random(void)
{
    uint64_t z = random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

emu_device *emu_current(void)
{
    return &emu_devices[current_device];
}

/* ---- errors ---------------------------------------------------------------------------------- */

cudaError_t emu_result(cudaError_t code)
{
    if (code != cudaSuccess && code != cudaErrorNotReady) last_error = code;
    return code;
}

void emu_device_fails(emu_device *device, cudaError_t code, const char *format, ...)
{
    if (device->error != cudaSuccess) return;
    va_list list;
    va_start(list, format);
    vsnprintf(device->report, sizeof device->report, format, list);
    va_end(list);
    device->error = code;
    tern_log(TERN_LOG_WARNING, "emu:%d: %s", (int)(device - emu_devices), device->report);
}

cudaError_t cudaPeekAtLastError(void)
{
    EMU_LOCKED;
    const cudaError_t sticky = emu_current()->error;
    return sticky != cudaSuccess ? sticky : last_error;
}

cudaError_t cudaGetLastError(void)
{
    const cudaError_t code = cudaPeekAtLastError();
    last_error = cudaSuccess;
    return code;
}

struct emu_error_text {
    cudaError_t code;
    const char *name, *text;
};
#define TEXT(code, text) {code, #code, text}
static const emu_error_text error_texts[] = {
    TEXT(cudaSuccess, "no error"),
    TEXT(cudaErrorInvalidValue, "invalid argument"),
    TEXT(cudaErrorMemoryAllocation, "out of memory"),
    TEXT(cudaErrorInitializationError, "initialization error"),
    TEXT(cudaErrorInvalidConfiguration, "invalid configuration argument"),
    TEXT(cudaErrorInvalidPitchValue, "invalid pitch argument"),
    TEXT(cudaErrorInvalidDevicePointer, "invalid device pointer"),
    TEXT(cudaErrorInvalidMemcpyDirection, "invalid copy direction for memcpy"),
    TEXT(cudaErrorInsufficientDriver,
         "CUDA driver version is insufficient for CUDA runtime version"),
    TEXT(cudaErrorInvalidDeviceFunction, "invalid device function"),
    TEXT(cudaErrorNoDevice, "no CUDA-capable device is detected"),
    TEXT(cudaErrorInvalidDevice, "invalid device ordinal"),
    TEXT(cudaErrorNoKernelImageForDevice,
         "no kernel image is available for execution on the device"),
    TEXT(cudaErrorInvalidResourceHandle, "invalid resource handle"),
    TEXT(cudaErrorNotReady, "device not ready"),
    TEXT(cudaErrorIllegalAddress, "an illegal memory access was encountered"),
    TEXT(cudaErrorLaunchOutOfResources, "too many resources requested for launch"),
    TEXT(cudaErrorLaunchTimeout, "the launch timed out and was terminated"),
    TEXT(cudaErrorLaunchFailure, "unspecified launch failure"),
    TEXT(cudaErrorNotSupported, "operation not supported"),
    TEXT(cudaErrorUnknown, "unknown error"),
};
#undef TEXT

static const emu_error_text *text_of(cudaError_t code)
{
    for (const emu_error_text &e : error_texts)
        if (e.code == code) return &e;
    return nullptr;
}

const char *cudaGetErrorName(cudaError_t code)
{
    const emu_error_text *e = text_of(code);
    return e ? e->name : "unrecognized error code";
}

const char *cudaGetErrorString(cudaError_t code)
{
    const emu_error_text *e = text_of(code);
    return e ? e->text : "unrecognized error code";
}

/* ---- devices --------------------------------------------------------------------------------- */

cudaError_t cudaDriverGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaRuntimeGetVersion(int *version)
{
    *version = CUDART_VERSION;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceCount(int *count)
{
    *count = TERN_EMU_DEVICES;
    return cudaSuccess;
}

cudaError_t cudaSetDevice(int device)
{
    if (device < 0 || device >= TERN_EMU_DEVICES) return emu_result(cudaErrorInvalidDevice);
    current_device = device;
    EMU_LOCKED;
    return emu_result(emu_devices[device].error);
}

cudaError_t cudaGetDevice(int *device)
{
    *device = current_device;
    return cudaSuccess;
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp *out, int device)
{
    if (device < 0 || device >= TERN_EMU_DEVICES) return emu_result(cudaErrorInvalidDevice);
    EMU_LOCKED;
    const emu_device *d = &emu_devices[device];
    *out = {};
    snprintf(out->name, sizeof out->name, "Emulated sm_%d", d->arch);
    out->major = d->arch / 10;
    out->minor = d->arch % 10;
    out->totalGlobalMem = d->total_bytes;
    out->multiProcessorCount = d->n_sm;
    out->sharedMemPerBlock = 48 * 1024;
    out->sharedMemPerBlockOptin = (size_t)d->smem_per_cta;
    out->sharedMemPerMultiprocessor = (size_t)d->smem_per_sm;
    out->reservedSharedMemPerBlock = (size_t)d->smem_reserved;
    out->warpSize = TERN_EMU_WARP;
    out->maxThreadsPerBlock = 1024;
    out->maxThreadsPerMultiProcessor = d->threads_per_sm;
    out->maxBlocksPerMultiProcessor = d->ctas_per_sm;
    out->regsPerBlock = out->regsPerMultiprocessor = 65536;
    out->maxThreadsDim[0] = out->maxThreadsDim[1] = 1024;
    out->maxThreadsDim[2] = 64;
    out->maxGridSize[0] = INT32_MAX;
    out->maxGridSize[1] = out->maxGridSize[2] = 65535;
    out->l2CacheSize = 1 << 20;
    out->memoryBusWidth = 64;
    out->unifiedAddressing = 1;
    return cudaSuccess;
}

cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int device)
{
    cudaDeviceProp p;
    const cudaError_t status = cudaGetDeviceProperties(&p, device);
    if (status != cudaSuccess) return status;
    switch (attribute) {
    case cudaDevAttrMaxThreadsPerBlock: *value = p.maxThreadsPerBlock; break;
    case cudaDevAttrMaxSharedMemoryPerBlock: *value = (int)p.sharedMemPerBlock; break;
    case cudaDevAttrMultiProcessorCount: *value = p.multiProcessorCount; break;
    case cudaDevAttrClockRate: *value = 1000000; break;
    case cudaDevAttrMemoryClockRate: *value = 1000000; break;
    case cudaDevAttrGlobalMemoryBusWidth: *value = p.memoryBusWidth; break;
    case cudaDevAttrL2CacheSize: *value = p.l2CacheSize; break;
    case cudaDevAttrMaxThreadsPerMultiProcessor: *value = p.maxThreadsPerMultiProcessor; break;
    case cudaDevAttrComputeCapabilityMajor: *value = p.major; break;
    case cudaDevAttrComputeCapabilityMinor: *value = p.minor; break;
    case cudaDevAttrMaxSharedMemoryPerMultiprocessor:
        *value = (int)p.sharedMemPerMultiprocessor;
        break;
    case cudaDevAttrMaxSharedMemoryPerBlockOptin: *value = (int)p.sharedMemPerBlockOptin; break;
    case cudaDevAttrMaxBlocksPerMultiprocessor: *value = p.maxBlocksPerMultiProcessor; break;
    }
    return cudaSuccess;
}

cudaError_t cudaDeviceReset(void)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    emu_streams_reset(device);
    emu_memory_reset(device);
    emu_launch_reset(device);
    device->error = last_error = cudaSuccess;
    device->report[0] = 0;
    return cudaSuccess;
}

} /* namespace tern_emu_rt */

/* ---- emu_control.h --------------------------------------------------------------------------- */

void tern_emu_set_seed(uint64_t seed)
{
    EMU_LOCKED;
    random_state = seed * 0xd1342543de82ef95u + 1;
}

void tern_emu_set_memory(int device, size_t bytes)
{
    EMU_LOCKED;
    emu_devices[device].total_bytes = bytes;
}

const char *tern_emu_report(int device)
{
    EMU_LOCKED;
    return emu_devices[device].report;
}
