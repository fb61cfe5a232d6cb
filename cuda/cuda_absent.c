/* cuda_absent.c - the backend `cuda` of a build without the CUDA toolkit: its pure functions, so
 * that plans for GPUs have exact bytes everywhere, and one sentence for everything else. */
#include "base/fail.h"
#include "cuda/cuda_program_layout.h"

static int absent_count(void)
{
    return 0;
}

static int refuse(int index, tern_error *err)
{
    return tern_fail(err, TERN_E_DEVICE,
                     "cuda:%d: this tern was built without the CUDA toolkit: build it where nvcc "
                     "is installed, or use --device cpu", index);
}

static int absent_info(tern_device_info *out, int index, tern_error *err)
{
    (void)out;
    return refuse(index, err);
}

static int absent_open(tern_device **out, int index, const tern_device_options *options,
                       tern_error *err)
{
    (void)out;
    (void)options;
    return refuse(index, err);
}

/* No device of this backend exists, so nothing else is ever called. */
extern const tern_backend tern_backend_cuda;
const tern_backend tern_backend_cuda = {
    .kind = "cuda",
    .count = absent_count,
    .info = absent_info,
    .open = absent_open,
    .weight_layout = tern_cuda_weight_layout,
    .quant_bytes = tern_cuda_quant_bytes,
    .program_bytes = tern_cuda_program_bytes,
};
