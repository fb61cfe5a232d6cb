/* nvtx.cuh - ranges for Nsight in the domain "tern": begin and end of the parts of a step, under
 * registered names (step_part.h has them). Without a profiler a call is one test of a pointer; in
 * the emulator it is nothing.
 *
 *   nvtx_begin(TERN_PART_STEP, n_tok);            the whole of gpu_program_run
 *   nvtx_begin(tern_step_part_of_batch(batch), n_tok);
 *   nvtx_begin(part, layer); ... nvtx_end();      whenever part or layer changes between operations
 *   nvtx_end(); nvtx_end();
 *
 * Ranges of a thread nest. CONTRIBUTING.md has the commands that show them. */
#ifndef TERN_CUDA_NVTX_CUH
#define TERN_CUDA_NVTX_CUH

#include "cuda/kernels.cuh"
#include "cuda/step_part.h"

#ifndef TERN_EMU
#include <nvtx3/nvToolsExt.h>
#endif

namespace TERN_GPU {

#ifdef TERN_EMU

static inline void nvtx_begin(tern_step_part part, int payload)
{
    (void)part;
    (void)payload;
}

static inline void nvtx_end(void)
{
}

#else

struct nvtx_names {
    nvtxDomainHandle_t domain;
    nvtxStringHandle_t name[TERN_N_PARTS];
};

/* Registered once, by the first range of the process; shared by all files that include this. */
inline const nvtx_names *nvtx_registered(void)
{
    static const nvtx_names names = [] {
        nvtx_names n = {};
        n.domain = nvtxDomainCreateA("tern");
        for (int i = 0; i < TERN_N_PARTS; i++)
            n.name[i] = nvtxDomainRegisterStringA(n.domain, tern_step_part_name((tern_step_part)i));
        return n;
    }();
    return &names;
}

/* Opens a range; `payload` is shown beside it: the tokens of a step, the number of a layer. */
static inline void nvtx_begin(tern_step_part part, int payload)
{
    const nvtx_names *names = nvtx_registered();
    nvtxEventAttributes_t event = {};
    event.version = NVTX_VERSION;
    event.size = NVTX_EVENT_ATTRIB_STRUCT_SIZE;
    event.messageType = NVTX_MESSAGE_TYPE_REGISTERED;
    event.message.registered = names->name[part];
    event.payloadType = NVTX_PAYLOAD_TYPE_INT32;
    event.payload.iValue = payload;
    nvtxDomainRangePushEx(names->domain, &event);
}

/* Closes the range that this thread opened last. */
static inline void nvtx_end(void)
{
    nvtxDomainRangePop(nvtx_registered()->domain);
}

#endif

} /* namespace TERN_GPU */
#endif
