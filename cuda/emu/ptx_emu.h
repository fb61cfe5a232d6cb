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

static inline unsigned take_ticket(unsigned *counter)
{
    return atomicAdd(counter, 1u);
}

static inline void wait_flag(const unsigned *flag, unsigned value, TERN_EMU_WHERE)
{
    emu_wait_flag(flag, value, {"wait_flag", file, line});
}

} /* namespace tern_emu_rt */
#endif
