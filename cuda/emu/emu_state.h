/* emu_state.h - the state of the emulator: what a driver would keep. Private to cuda/emu.
 *
 * One lock guards all of it, and is held while kernels run: host threads may use their devices at
 * the same time, the emulator serves one of them after the other. */
#ifndef TERN_EMU_STATE_H
#define TERN_EMU_STATE_H

#include <cuda_runtime.h>

#include "emu_control.h"

namespace tern_emu_rt {

struct emu_allocation;

struct emu_device {
    int arch, n_sm;
    int smem_per_sm, smem_per_cta, smem_reserved; /* bytes; what a CTA may ask for; kept per CTA */
    int threads_per_sm, ctas_per_sm;
    size_t total_bytes, used_bytes;
    cudaError_t error;      /* sticky: once set, every call returns it until cudaDeviceReset() */
    char report[512];       /* the sentence behind `error` */
    emu_allocation *allocations;
    emu_stream *streams;    /* the first one is the default stream */
};
extern emu_device emu_devices[TERN_EMU_DEVICES];

/* The device of the calling thread (cudaSetDevice). */
emu_device *emu_current(void);

/* Holds the lock until the end of the block. */
int emu_lock(void);
void emu_unlock(int *);
#define EMU_LOCKED __attribute__((cleanup(emu_unlock), unused)) int locked = emu_lock()

/* Remembers a failed call for cudaGetLastError(); returns the code. */
cudaError_t emu_result(cudaError_t code);

/* Whether the fault is the one that tests have set; and, for events, whether it strikes now. */
bool emu_fault_is(tern_emu_fault fault);
bool emu_fault_strikes(tern_emu_fault fault);

/* Sets the device's sticky error and its sentence, if it has none yet. */
__attribute__((format(printf, 3, 4))) void emu_device_fails(emu_device *device, cudaError_t code,
                                                            const char *format, ...);

/* The generator behind every choice that a GPU leaves open: order of CTAs and threads, moments of
 * copies. One sequence for a seed. */
uint64_t emu_random(void);

static inline unsigned emu_random_below(unsigned n)
{
    return (unsigned)((emu_random() >> 32) * n >> 32); /* below n: the product is below n * 2^32 */
}

/* ---- memory (emu_memory.cpp) ----------------------------------------------------------------- */

#define EMU_POISON 0xA5 /* what memory holds that nobody wrote */
#define EMU_ZONE 0xDB   /* what the red zones hold */

/* Under the address sanitizer: forbids or allows access. */
void emu_forbid(void *memory, size_t bytes);
void emu_allow(void *memory, size_t bytes);

/* Whether [p, p + bytes) lies inside one allocation of the device. */
bool emu_on_device(const emu_device *device, const void *p, size_t bytes);

/* Whether [p, p + bytes) is pinned host memory. */
bool emu_is_pinned(const void *p, size_t bytes);

/* A description of the first red zone that was written over, of any allocation; false if none. */
bool emu_zone_broken(const emu_device *device, char *what, size_t what_bytes);
bool emu_zone_intact(const uint8_t *zone, size_t bytes);

/* Frees all of it. */
void emu_memory_reset(emu_device *device);

/* ---- launches (emu_launch.cpp, emu_grid.cpp) ------------------------------------------------- */

struct emu_launch_desc {
    emu_kernel kernel;
    const void *args;
    dim3 grid, block;
    size_t smem_bytes;
    bool dependent; /* may begin before its predecessor in the stream ends */
    dim3 cluster;   /* CTAs that begin together */
};

#define EMU_MAX_CLUSTER 8 /* CTAs */

/* CTAs that one SM holds at a time. */
int emu_ctas_per_sm(const emu_device *device, unsigned threads, size_t smem_bytes);

/* Runs kernels that follow each other in a stream, all but the first of them dependent, to their
 * end or to the error of the device. The last one goes as far as it can before the one before it
 * begins, and so on: what a kernel does too early shows, and that it never waits is an error. */
#define EMU_MAX_CHAIN 3
void emu_run_chain(emu_device *device, const emu_launch_desc *const *launches, int n);

/* What reports call a kernel: its name, or else the type of its arguments. */
void emu_kernel_name(char *out, size_t out_bytes, const emu_kernel *kernel);

/* The name of a function of the program (emu_symbol.cpp); false if it is not to be had. */
bool emu_symbol_name(char *out, size_t out_bytes, void (*function)(void));

/* Forgets the attributes that were set for the device's kernels. */
void emu_launch_reset(emu_device *device);

/* ---- streams (emu_stream.cpp) ---------------------------------------------------------------- */

/* Queues a launch, whose checks are done; a NULL stream is the device's default one. */
cudaError_t emu_stream_launch(emu_device *device, emu_stream *stream,
                              const emu_launch_desc *launch, size_t args_bytes);

/* Runs everything that is queued. */
void emu_drain(emu_device *device);

/* Destroys all streams. */
void emu_streams_reset(emu_device *device);

} /* namespace tern_emu_rt */
#endif
