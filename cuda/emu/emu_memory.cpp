/* emu_memory.cpp - the memory of a device is host memory: filled with poison, between two red zones
 * that are looked at after every kernel, counted against the size of the device. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "emu_fiber.h"
#include "emu_state.h"

#if TERN_EMU_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace tern_emu_rt {

#define ALIGNMENT 256 /* of cudaMalloc; and the bytes of a red zone */

struct emu_allocation {
    emu_allocation *next;
    uint8_t *block, *memory; /* [ALIGNMENT zone, bytes, zone to the end of the block] */
    size_t block_bytes, bytes;
};

static emu_allocation *pinned; /* host memory */

void emu_forbid(void *memory, size_t bytes)
{
#if TERN_EMU_ASAN
    __asan_poison_memory_region(memory, bytes);
#else
    (void)memory;
    (void)bytes;
#endif
}

void emu_allow(void *memory, size_t bytes)
{
#if TERN_EMU_ASAN
    __asan_unpoison_memory_region(memory, bytes);
#else
    (void)memory;
    (void)bytes;
#endif
}

bool emu_zone_intact(const uint8_t *zone, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (zone[i] != EMU_ZONE) return false;
    return true;
}

static emu_allocation *allocate(size_t bytes)
{
    if (bytes > SIZE_MAX / 2) return nullptr;
    emu_allocation *a = (emu_allocation *)calloc(1, sizeof *a);
    if (!a) return nullptr;
    a->bytes = bytes;
    a->block_bytes = ALIGNMENT + (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT + ALIGNMENT;
    a->block = (uint8_t *)aligned_alloc(ALIGNMENT, a->block_bytes);
    if (!a->block) {
        free(a);
        return nullptr;
    }
    a->memory = a->block + ALIGNMENT;
    uint8_t *behind = a->memory + bytes;
    const size_t behind_bytes = (size_t)(a->block + a->block_bytes - behind);
    memset(a->block, EMU_ZONE, ALIGNMENT);
    memset(a->memory, EMU_POISON, bytes);
    memset(behind, EMU_ZONE, behind_bytes);
    emu_forbid(a->block, ALIGNMENT);
    emu_forbid(behind, behind_bytes);
    return a;
}

static void release(emu_allocation *a)
{
    emu_allow(a->block, a->block_bytes);
    free(a->block);
    free(a);
}

/* Takes the allocation that begins at `memory` out of a list; NULL if there is none. */
static emu_allocation *unlink_at(emu_allocation **list, const void *memory)
{
    for (emu_allocation **at = list; *at; at = &(*at)->next)
        if ((*at)->memory == memory) {
            emu_allocation *found = *at;
            *at = found->next;
            return found;
        }
    return nullptr;
}

static bool is_inside(const emu_allocation *list, const void *p, size_t bytes)
{
    for (const emu_allocation *a = list; a; a = a->next) {
        const uintptr_t begin = (uintptr_t)a->memory, at = (uintptr_t)p;
        if (at >= begin && at - begin <= a->bytes && bytes <= a->bytes - (at - begin)) return true;
    }
    return false;
}

bool emu_on_device(const emu_device *device, const void *p, size_t bytes)
{
    return is_inside(device->allocations, p, bytes);
}

bool emu_is_pinned(const void *p, size_t bytes)
{
    return is_inside(pinned, p, bytes);
}

bool emu_zone_broken(const emu_device *device, char *what, size_t what_bytes)
{
    if (TERN_EMU_ASAN) return false; /* the write itself was reported */
    for (const emu_allocation *a = device->allocations; a; a = a->next) {
        const uint8_t *behind = a->memory + a->bytes;
        const bool front = emu_zone_intact(a->block, ALIGNMENT);
        if (front && emu_zone_intact(behind, (size_t)(a->block + a->block_bytes - behind)))
            continue;
        snprintf(what, what_bytes, "wrote %s an allocation of %zu bytes",
                 front ? "behind" : "before", a->bytes);
        return true;
    }
    return false;
}

void emu_memory_reset(emu_device *device)
{
    while (device->allocations) {
        emu_allocation *a = device->allocations;
        device->allocations = a->next;
        release(a);
    }
    device->used_bytes = 0;
}

cudaError_t cudaMalloc(void **out, size_t bytes)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    if (!out) return emu_result(cudaErrorInvalidValue);
    if (bytes == 0) {
        *out = nullptr;
        return cudaSuccess;
    }
    const size_t used = device->used_bytes;
    if (used > device->total_bytes || bytes > device->total_bytes - used)
        return emu_result(cudaErrorMemoryAllocation);
    emu_allocation *a = allocate(bytes);
    if (!a) return emu_result(cudaErrorMemoryAllocation);
    a->next = device->allocations;
    device->allocations = a;
    device->used_bytes += bytes;
    *out = a->memory;
    return cudaSuccess;
}

cudaError_t cudaFree(void *memory)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    if (!memory) return cudaSuccess;
    emu_drain(device); /* what is queued may still use it */
    emu_allocation *a = unlink_at(&device->allocations, memory);
    if (!a) return emu_result(cudaErrorInvalidValue);
    device->used_bytes -= a->bytes;
    release(a);
    return emu_result(device->error);
}

cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total_bytes)
{
    EMU_LOCKED;
    const emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    const bool full = device->used_bytes > device->total_bytes;
    *free_bytes = full ? 0 : device->total_bytes - device->used_bytes;
    *total_bytes = device->total_bytes;
    return cudaSuccess;
}

cudaError_t cudaMallocHost(void **out, size_t bytes)
{
    EMU_LOCKED;
    const emu_device *device = emu_current();
    if (device->error != cudaSuccess) return emu_result(device->error);
    emu_allocation *a = allocate(bytes);
    if (!a) return emu_result(cudaErrorMemoryAllocation);
    a->next = pinned;
    pinned = a;
    *out = a->memory;
    return cudaSuccess;
}

cudaError_t cudaHostAlloc(void **out, size_t bytes, unsigned)
{
    return cudaMallocHost(out, bytes);
}

cudaError_t cudaFreeHost(void *memory)
{
    EMU_LOCKED;
    emu_device *device = emu_current();
    if (!memory) return cudaSuccess;
    if (device->error == cudaSuccess) emu_drain(device);
    emu_allocation *a = unlink_at(&pinned, memory);
    if (!a) return emu_result(cudaErrorInvalidValue);
    release(a);
    return emu_result(device->error);
}

} /* namespace tern_emu_rt */
