/* emu_matrix.cpp - ldmatrix and mma.sync as loops over the fragment layouts of the PTX manual
 * (sections "ldmatrix", "Matrix Fragments for mma.m8n8k16 / .m16n8k32").
 *
 * An sm_75 has no m16n8k32; there, as in ptx.cuh, the same registers go through m8n8k16 four times.
 * The two ways share no code: that they agree is a test of ptx.cuh's claim. */
#include <string.h>

#include "emu_cta.h"
#include "ptx_emu.h"

namespace tern_emu_rt {

static int byte_of(uint32_t word, int i, bool is_signed)
{
    const uint8_t byte = (uint8_t)(word >> (8 * i));
    return is_signed ? (int8_t)byte : byte;
}

/* d [16, 8] += a [16, 32] * b [32, 8]: gathers the operands, multiplies, and hands out the sums. */
static void mma_m16n8k32(emu_mma *const *lanes, bool a_signed)
{
    int16_t a[16][32], b[8][32]; /* b by columns */
    for (int l = 0; l < TERN_EMU_WARP; l++) {
        const int r = l / 4, c = l % 4;
        for (int i = 0; i < 16; i++) /* byte i of the four registers of A */
            a[r + 8 * (i / 4 % 2)][16 * (i / 8) + 4 * c + i % 4] =
                (int16_t)byte_of(lanes[l]->a[i / 4], i % 4, a_signed);
        for (int i = 0; i < 8; i++)
            b[r][16 * (i / 4) + 4 * c + i % 4] = (int16_t)byte_of(lanes[l]->b[i / 4], i % 4, true);
    }
    for (int l = 0; l < TERN_EMU_WARP; l++)
        for (int i = 0; i < 4; i++) {
            const int16_t *row = a[l / 4 + 8 * (i / 2)], *column = b[2 * (l % 4) + i % 2];
            unsigned sum = 0;
            for (int k = 0; k < 32; k++) sum += (unsigned)(row[k] * column[k]);
            lanes[l]->d[i] = (int)((unsigned)lanes[l]->d[i] + sum);
        }
}

/* d [8, 8] += a [8, 16] * b [16, 8]: lane l has row l / 4 of a, columns 4 * (l % 4) .. +3; column
 * l / 4 of b, the same rows; row l / 4 of d, columns 2 * (l % 4) .. +1. Which register is which
 * comes from ptx.cuh. */
static void mma_m8n8k16(emu_mma *const *lanes, int a_register, bool a_signed)
{
    const int d_register = 2 * (a_register % 2), b_register = a_register / 2;
    for (int l = 0; l < TERN_EMU_WARP; l++)
        for (int i = 0; i < 2; i++) {
            const int row = l / 4, column = 2 * (l % 4) + i;
            unsigned sum = (unsigned)lanes[l]->d[d_register + i];
            for (int k = 0; k < 16; k++) {
                const uint32_t a = lanes[4 * row + k / 4]->a[a_register];
                const uint32_t b = lanes[4 * column + k / 4]->b[b_register];
                sum += (unsigned)(byte_of(a, k % 4, a_signed) * byte_of(b, k % 4, true));
            }
            lanes[l]->d[d_register + i] = (int)sum;
        }
}

static void mma(void *const *given, bool a_signed)
{
    emu_mma *lanes[TERN_EMU_WARP];
    for (int l = 0; l < TERN_EMU_WARP; l++) lanes[l] = (emu_mma *)given[l];
    if (emu_self.arch >= 80) return mma_m16n8k32(lanes, a_signed);
    for (int p = 0; p < 4; p++) mma_m8n8k16(lanes, p, a_signed);
}

void emu_mma_us_act(void *const *lanes)
{
    mma(lanes, false);
}

void emu_mma_ss_act(void *const *lanes)
{
    mma(lanes, true);
}

void emu_ldmatrix_act(void *const *lanes)
{
    for (int l = 0; l < TERN_EMU_WARP; l++) {
        const void *row = ((const emu_ldmatrix *)lanes[l])->row;
        if ((uintptr_t)row % 16 != 0)
            emu_thread_fails(cudaErrorLaunchFailure, "ldmatrix of a row not aligned to 16 bytes");
    }
    for (int l = 0; l < TERN_EMU_WARP; l++)
        for (int m = 0; m < 4; m++) {
            const uint8_t *row = (const uint8_t *)((const emu_ldmatrix *)lanes[8 * m + l / 4])->row;
            memcpy(&((emu_ldmatrix *)lanes[l])->out[m], row + 4 * (l % 4), 4);
        }
}

} /* namespace tern_emu_rt */
