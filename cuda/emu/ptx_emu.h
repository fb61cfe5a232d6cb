/* ptx_emu.h - the functions of ptx.cuh as plain C++ of the same meaning: same names, same operands.
 * The text of each contract stands in ptx.cuh. */
#ifndef TERN_EMU_PTX_H
#define TERN_EMU_PTX_H

#include <cuda_runtime.h>

#include "base/f16.h"

#define SMEM() (tern_emu_rt::emu_self.smem)

namespace tern_emu_rt {

static inline int dp4a_us(uint32_t a, uint32_t b, int c)
{
    for (int i = 0; i < 32; i += 8) c += (int)(uint8_t)(a >> i) * (int8_t)(b >> i);
    return c;
}

static inline int dp4a_ss(uint32_t a, uint32_t b, int c)
{
    for (int i = 0; i < 32; i += 8) c += (int)(int8_t)(a >> i) * (int8_t)(b >> i);
    return c;
}

static inline float f32_of_f16(uint16_t h)
{
    return tern_f32_from_f16(h);
}

/* The operands of a lane. */
struct emu_mma {
    int *d;
    const uint32_t *a, *b;
};
void emu_mma_us_act(void *const *lanes);
void emu_mma_ss_act(void *const *lanes);

static inline void mma_us(int d[4], const uint32_t a[4], const uint32_t b[2], TERN_EMU_WHERE)
{
    emu_mma mine = {d, a, b};
    emu_meet({"mma_us", file, line}, 0xffffffffu, emu_mma_us_act, &mine);
}

static inline void mma_ss(int d[4], const uint32_t a[4], const uint32_t b[2], TERN_EMU_WHERE)
{
    emu_mma mine = {d, a, b};
    emu_meet({"mma_ss", file, line}, 0xffffffffu, emu_mma_ss_act, &mine);
}

struct emu_ldmatrix {
    uint32_t *out;
    const void *row;
};
void emu_ldmatrix_act(void *const *lanes);

static inline void ldmatrix_x4(uint32_t out[4], const void *row, TERN_EMU_WHERE)
{
    emu_ldmatrix mine = {out, row};
    emu_meet({"ldmatrix_x4", file, line}, 0xffffffffu, emu_ldmatrix_act, &mine);
}

static inline void copy16_async(void *to, const void *from)
{
    emu_copy16(to, from);
}

static inline void copy_commit(void)
{
    emu_copy_commit();
}

template <int N> static inline void copy_wait(void)
{
    emu_copy_wait(N);
}

static inline int has_wgmma(void)
{
    return emu_self.arch == 90;
}

static inline void mbarrier_init(uint64_t *bar, unsigned count)
{
    emu_mbarrier_init(bar, count);
}

static inline void mbarrier_init_fence(void)
{
    emu_mbarrier_init_fence();
}

static inline void mbarrier_arrive(uint64_t *bar)
{
    emu_mbarrier_arrive(bar, 0);
}

static inline void mbarrier_expect(uint64_t *bar, unsigned bytes)
{
    emu_mbarrier_arrive(bar, bytes);
}

static inline void mbarrier_wait(uint64_t *bar, unsigned parity, TERN_EMU_WHERE)
{
    emu_mbarrier_wait(bar, parity, {"mbarrier_wait", file, line});
}

static inline void bulk_copy(void *to, const void *from, unsigned bytes, uint64_t *bar)
{
    emu_bulk_copy(to, from, bytes, bar);
}

static inline uint64_t wgmma_operand(const void *rows)
{
    return (uint64_t)(__cvta_generic_to_shared(rows) >> 4) | (uint64_t)1 << 16 |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

static inline void wgmma_fence(TERN_EMU_WHERE)
{
    emu_wgmma_fence({"wgmma_fence", file, line});
}

static inline void wgmma_commit(TERN_EMU_WHERE)
{
    emu_wgmma_commit({"wgmma_commit", file, line});
}

template <int N> static inline void wgmma_wait(TERN_EMU_WHERE)
{
    emu_wgmma_wait(N, {"wgmma_wait", file, line});
}

static inline void wgmma_ready(uint32_t *)
{
    /* no compiler moves what memory it has been shown */
}

template <int N> static inline void wgmma_done(int *)
{
    /* the same */
}

template <int N>
static inline void wgmma_us(int *d, const uint32_t *a, uint64_t b, TERN_EMU_WHERE)
{
    emu_wgmma_args mine = {d, a, b, N};
    emu_wgmma_issue(&mine, {"wgmma_us", file, line});
}

static inline unsigned take_ticket(unsigned *counter)
{
    return atomicAdd(counter, 1u);
}

static inline void wait_flag(const unsigned *flag, unsigned value, TERN_EMU_WHERE)
{
    emu_wait_flag(flag, value, {"wait_flag", file, line});
}

static inline void begin_dependent(void)
{
    /* the dependent kernel has run as far as it can already */
}

static inline void wait_predecessor(TERN_EMU_WHERE)
{
    emu_wait_predecessor({"wait_predecessor", file, line});
}

static inline void cluster_sync(TERN_EMU_WHERE)
{
    emu_cluster_sync({"cluster_sync", file, line});
}

template <class T> static inline T *cluster_peer(T *mine, unsigned rank)
{
    return (T *)emu_cluster_peer(mine, rank);
}

} /* namespace tern_emu_rt */
#endif
