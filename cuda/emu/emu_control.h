/* emu_control.h - what tests ask of the emulator beyond CUDA: a seed, a small memory, bad luck, and
 * the sentence behind an error. C, so that tests in C may use it.
 *
 * Settings hold for the process until set again. Device numbers are those of cudaSetDevice():
 * 0 is an sm_90 with 3 SMs, 1 an sm_75 with 3 SMs. */
#ifndef TERN_EMU_CONTROL_H
#define TERN_EMU_CONTROL_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TERN_EMU_DEVICES 2

/* Chooses the sequence of all random choices from here on. */
void tern_emu_set_seed(uint64_t seed);

/* Sets how much memory a device has; what is in use stays. */
void tern_emu_set_memory(int device, size_t bytes);

/* The sentence behind the device's sticky error, "" if there is none. Names kernel, block, thread
 * and the lines where threads wait. Valid until the next error or cudaDeviceReset(). */
const char *tern_emu_report(int device);

/* What may go wrong. */
typedef enum tern_emu_fault {
    TERN_EMU_NO_FAULT,
    /* states: they hold until the fault is set again */
    TERN_EMU_NO_DRIVER,     /* driver version 0: cudaErrorInsufficientDriver */
    TERN_EMU_OLD_DRIVER,    /* a driver for CUDA 11.4: cudaErrorInsufficientDriver */
    TERN_EMU_NO_DEVICE,     /* cudaErrorNoDevice */
    TERN_EMU_OTHER_DEVICE,  /* sm_61: launches give cudaErrorNoKernelImageForDevice */
    /* events: they strike once */
    TERN_EMU_ALLOC_FAILS,   /* cudaMalloc: cudaErrorMemoryAllocation */
    TERN_EMU_CAPTURE_FAILS, /* the end of a capture: cudaErrorStreamCaptureInvalidated */
    TERN_EMU_LAUNCH_FAILS,  /* a launch: cudaErrorLaunchOutOfResources, not sticky */
    TERN_EMU_DEVICE_LOST,   /* a kernel ends with cudaErrorECCUncorrectable, sticky */
} tern_emu_fault;

/* Chooses what goes wrong on all devices; an event strikes after it has spared `after` calls. */
void tern_emu_set_fault(tern_emu_fault fault, unsigned after);

/* Launches of graphs since the process began. */
unsigned long tern_emu_graph_launches(void);

/* Kernels that have run since the process began, those of graphs too. */
unsigned long tern_emu_kernels_run(void);

#ifdef __cplusplus
}
#endif
#endif
