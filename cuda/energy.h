/* energy.h - what a GPU has consumed, for joules per token: NVML, found when the program runs.
 * Always compiled; needs neither the toolkit nor a driver to build or start. */
#ifndef TERN_CUDA_ENERGY_H
#define TERN_CUDA_ENERGY_H

#include "tern/base.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_energy tern_energy;

/* Opens the counter of the GPU at a PCI bus id ("0000:3b:00.0", as cudaDeviceGetPCIBusId gives it).
 * TERN_E_DEVICE with the reason when there is no NVML, no such GPU, or no counter in it (before
 * Volta). */
int tern_energy_open(tern_energy **out, const char *pci_bus_id, tern_error *err);

/* Millijoules since the driver was loaded; the counter moves every 20 to 100 ms, so time spans of
 * seconds. */
int tern_energy_read(uint64_t *mj, tern_energy *energy, tern_error *err);

/* Takes NULL. */
void tern_energy_close(tern_energy *energy);

#ifdef __cplusplus
}
#endif
#endif
