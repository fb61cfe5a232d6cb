/* ptx.cuh - the only file with PTX: what CUDA C++ cannot say, one small function each. In the
 * emulator the same names are plain C++ of the same meaning (emu/ptx_emu.h); tests/kerncheck runs
 * the one against the other on a real device. Also the only file that asks for __CUDA_ARCH__. */
#ifndef TERN_CUDA_PTX_CUH
#define TERN_CUDA_PTX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#ifdef TERN_EMU
#include "ptx_emu.h" /* in cuda/emu, which the emulator's build searches first */
#else

/* The dynamic shared memory of the CTA: the only shared memory a kernel has. */
#define SMEM() tern_shared_memory
extern __shared__ __align__(128) uint8_t tern_shared_memory[];

/* c + sum over the four bytes of a (unsigned) times b (signed). */
static __device__ __forceinline__ int dp4a_us(uint32_t a, uint32_t b, int c)
{
    int d;
    asm("dp4a.u32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

/* The same, both signed. */
static __device__ __forceinline__ int dp4a_ss(uint32_t a, uint32_t b, int c)
{
    int d;
    asm("dp4a.s32.s32 %0, %1, %2, %3;" : "=r"(d) : "r"(a), "r"(b), "r"(c));
    return d;
}

/* The value of a binary16, exact for every finite one. */
static __device__ __forceinline__ float f32_of_f16(uint16_t h)
{
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}

/* d [16 x 8] += a [16 x 32] * b [32 x 8], bytes into s32, by a warp. Lane l, r = l / 4, c = l % 4:
 *   a[p]: rows r + 8 * (p % 2), columns 16 * (p / 2) + 4*c + 0..3
 *   b[p]: rows (k) 16*p + 4*c + 0..3, column r
 *   d[i]: row r + 8 * (i / 2), column 2*c + i % 2
 * mma_us takes a as unsigned, mma_ss as signed; b is signed. */
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
/* Turing multiplies 8 x 16 by 16 x 8: the same registers, four times. */
#define TERN_MMA(name, a_type)                                                                     \
    static __device__ __forceinline__ void name(int d[4], const uint32_t a[4],                     \
                                                const uint32_t b[2])                               \
    {                                                                                              \
        _Pragma("unroll") for (int p = 0; p < 4; p++)                                              \
            asm volatile("mma.sync.aligned.m8n8k16.row.col.s32." a_type ".s8.s32 "                 \
                         "{%0,%1}, {%2}, {%3}, {%0,%1};"                                           \
                         : "+r"(d[2 * (p % 2)]), "+r"(d[2 * (p % 2) + 1])                          \
                         : "r"(a[p]), "r"(b[p / 2]));                                              \
    }
#else
#define TERN_MMA(name, a_type)                                                                     \
    static __device__ __forceinline__ void name(int d[4], const uint32_t a[4],                     \
                                                const uint32_t b[2])                               \
    {                                                                                              \
        asm volatile("mma.sync.aligned.m16n8k32.row.col.s32." a_type ".s8.s32 "                    \
                     "{%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"                       \
                     : "+r"(d[0]), "+r"(d[1]), "+r"(d[2]), "+r"(d[3])                              \
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));          \
    }
#endif
TERN_MMA(mma_us, "u8")
TERN_MMA(mma_ss, "s8")
#undef TERN_MMA

/* Four matrices of 8 rows x 16 bytes from shared memory: lane l names row l % 8 of matrix l / 8
 * (16-byte aligned); out[m] holds bytes 4 * (l % 4) .. +3 of row l / 4 of matrix m. */
static __device__ __forceinline__ void ldmatrix_x4(uint32_t out[4], const void *row)
{
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(row);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(at)
                 : "memory");
}

/* 16 bytes from global to shared memory, both 16-byte aligned, past the registers and past L1;
 * visible to the thread after copy_wait. Turing, which lacks this, copies at once. */
static __device__ __forceinline__ void copy16_async(void *to, const void *from)
{
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ < 800
    *(uint4 *)to = *(const uint4 *)from;
#else
    const uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(at), "l"(from) : "memory");
#endif
}

/* Closes a group of the copies issued since the last commit (an empty group is allowed). */
static __device__ __forceinline__ void copy_commit(void)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

/* Waits until at most N of this thread's groups are under way. */
template <int N> static __device__ __forceinline__ void copy_wait(void)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(N) : "memory");
#endif
}

/* A counter that CTAs share: adds 1 after everything this CTA wrote and returns what was there.
 * Called by one thread, between two __syncthreads(). */
static __device__ __forceinline__ unsigned take_ticket(unsigned *counter)
{
    __threadfence();
    const unsigned before = atomicAdd(counter, 1u);
    __threadfence();
    return before;
}

/* Waits until *flag, which another resident CTA raises, is at least `value`. Called by one thread,
 * before a __syncthreads(). The only wait on another CTA that a kernel may contain. */
static __device__ __forceinline__ void wait_flag(const unsigned *flag, unsigned value)
{
    while (*(const volatile unsigned *)flag < value) {
    }
    __threadfence();
}

#endif /* TERN_EMU */
#endif
