/* emu_launch.cpp - the checks of a launch, with the codes that the runtime gives. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu_state.h"

namespace tern_emu_rt {

#define SMEM_BYTES_UNASKED (48 * 1024) /* more has to be asked for with cudaFuncSetAttribute */
#define MAX_THREADS 1024
#define MAX_GRID_YZ 65535u

/* What cudaFuncSetAttribute was told: shared memory per kernel and device. */
struct emu_smem_limit {
    void (*function)(void);
    const emu_device *device;
    size_t bytes;
};
static emu_smem_limit *limits;
static size_t n_limits, cap_limits;

static emu_smem_limit *limit_of(const emu_device *device, void (*function)(void))
{
    for (size_t i = 0; i < n_limits; i++)
        if (limits[i].function == function && limits[i].device == device) return &limits[i];
    return nullptr;
}

void emu_launch_reset(emu_device *device)
{
    size_t kept = 0;
    for (size_t i = 0; i < n_limits; i++)
        if (limits[i].device != device) limits[kept++] = limits[i];
    n_limits = kept;
}

cudaError_t emu_set_attribute(void (*function)(void), cudaFuncAttribute attribute, int value)
{
    EMU_LOCKED;
    const emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    if (!function) return emu_result(cudaErrorInvalidDeviceFunction);
    if (attribute != cudaFuncAttributeMaxDynamicSharedMemorySize) return cudaSuccess; /* a hint */
    if (value < 0 || value > device->smem_per_cta) return emu_result(cudaErrorInvalidValue);
    emu_smem_limit *limit = limit_of(device, function);
    if (!limit) {
        if (n_limits == cap_limits) {
            const size_t cap = cap_limits ? 2 * cap_limits : 64;
            void *grown = realloc(limits, cap * sizeof *limits);
            if (!grown) return emu_result(cudaErrorMemoryAllocation);
            limits = (emu_smem_limit *)grown;
            cap_limits = cap;
        }
        limit = &limits[n_limits++];
    }
    *limit = {function, device, (size_t)value};
    return cudaSuccess;
}

int emu_ctas_per_sm(const emu_device *device, unsigned threads, size_t smem_bytes)
{
    const unsigned whole_warps = (threads + TERN_EMU_WARP - 1) / TERN_EMU_WARP * TERN_EMU_WARP;
    int fit = device->threads_per_sm / (int)whole_warps;
    if (fit > device->ctas_per_sm) fit = device->ctas_per_sm;
    const size_t smem = smem_bytes + (size_t)device->smem_reserved;
    if (smem > 0 && (size_t)fit > (size_t)device->smem_per_sm / smem)
        fit = (int)((size_t)device->smem_per_sm / smem);
    return fit;
}

cudaError_t emu_occupancy(int *ctas, void (*function)(void), int threads, size_t smem_bytes)
{
    EMU_LOCKED;
    const emu_device *device = emu_current();
    if (!function) return emu_result(cudaErrorInvalidDeviceFunction);
    if (threads < 1) return emu_result(cudaErrorInvalidValue);
    *ctas = emu_ctas_per_sm(device, (unsigned)threads, smem_bytes);
    return cudaSuccess;
}

static cudaError_t check(const emu_device *device, const cudaLaunchConfig_t *config,
                         void (*function)(void))
{
    const dim3 g = config->gridDim, b = config->blockDim;
    if (!function) return cudaErrorInvalidDeviceFunction;
    if (g.x == 0 || g.y == 0 || g.z == 0 || b.x == 0 || b.y == 0 || b.z == 0)
        return cudaErrorInvalidConfiguration;
    if (g.x > INT32_MAX || g.y > MAX_GRID_YZ || g.z > MAX_GRID_YZ)
        return cudaErrorInvalidConfiguration;
    if (b.x > MAX_THREADS || b.y > MAX_THREADS || b.z > 64 ||
        (uint64_t)b.x * b.y * b.z > MAX_THREADS)
        return cudaErrorInvalidConfiguration;
    const emu_smem_limit *limit = limit_of(device, function);
    const size_t allowed = limit && limit->bytes > SMEM_BYTES_UNASKED ? limit->bytes
                                                                      : SMEM_BYTES_UNASKED;
    return config->dynamicSmemBytes > allowed ? cudaErrorInvalidValue : cudaSuccess;
}

/* What the attributes ask for. */
static cudaError_t read_attribute(emu_launch_desc *launch, const emu_device *device,
                                  const cudaLaunchAttribute *a)
{
    const dim3 g = launch->grid;
    const dim3 c(a->val.clusterDim.x, a->val.clusterDim.y, a->val.clusterDim.z);
    if (a->id == cudaLaunchAttributeProgrammaticStreamSerialization)
        launch->dependent =
            a->val.programmaticStreamSerializationAllowed != 0 && device->arch >= 90;
    if (a->id != cudaLaunchAttributeClusterDimension) return cudaSuccess;
    if (device->arch < 90 || c.x * c.y * c.z == 0 || c.x * c.y * c.z > EMU_MAX_CLUSTER ||
        g.x % c.x != 0 || g.y % c.y != 0 || g.z % c.z != 0)
        return cudaErrorInvalidConfiguration;
    launch->cluster = c;
    return cudaSuccess;
}

void emu_kernel_name(char *out, size_t out_bytes, const emu_kernel *kernel)
{
    if (emu_symbol_name(out, out_bytes, kernel->function)) return;
    const char *type = strstr(kernel->args_type, "Args = ");
    type = type ? type + strlen("Args = ") : kernel->args_type;
    snprintf(out, out_bytes, "of %.*s", (int)strcspn(type, "];"), type);
}

cudaError_t emu_launch(const cudaLaunchConfig_t *config, emu_kernel kernel, const void *args,
                       size_t args_bytes)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    cudaError_t status = check(device, config, kernel.function);
    if (emu_fault_is(TERN_EMU_OTHER_DEVICE)) status = cudaErrorNoKernelImageForDevice;
    if (emu_fault_strikes(TERN_EMU_LAUNCH_FAILS)) status = cudaErrorLaunchOutOfResources;
    emu_launch_desc launch = {kernel, args, config->gridDim, config->blockDim,
                              config->dynamicSmemBytes, false, dim3(1)};
    for (unsigned i = 0; i < config->numAttrs && status == cudaSuccess; i++)
        status = read_attribute(&launch, device, &config->attrs[i]);
    if (status != cudaSuccess) return emu_result(status);
    return emu_result(emu_stream_launch(device, config->stream, &launch, args_bytes));
}

} /* namespace tern_emu_rt */
