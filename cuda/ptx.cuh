/* ptx.cuh - the only file with PTX: what CUDA C++ cannot say, one small function each. In the
 * emulator the same names are plain C++ of the same meaning (emu/ptx_emu.h); tests/kerncheck runs
 * the one against the other on a real device. Also the only file that asks for __CUDA_ARCH__. */
#ifndef TERN_CUDA_PTX_CUH
#define TERN_CUDA_PTX_CUH

#include <cuda_runtime.h>
#include <stdint.h>

#ifdef TERN_EMU
#include "ptx_emu.h" /* in cuda/emu, which the emulator's build searches first */
#define UNROLL
#else

/* Before a loop of constant length whose arrays must stay in registers. */
#define UNROLL _Pragma("unroll")

/* The dynamic shared memory of the CTA: the only shared memory a kernel has. */
#define SMEM() tern_shared_memory
extern __shared__ __align__(1024) uint8_t tern_shared_memory[];

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

/* Programmatic dependent launch, for kernels launched with that attribute (sm_90; elsewhere a
 * kernel begins when the one before it has ended). The first lets the next kernel of the stream
 * begin; the second, called by every thread, waits until the one before has ended and its writes
 * are seen. */
static __device__ __forceinline__ void begin_dependent(void)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.launch_dependents;" ::: "memory");
#endif
}

static __device__ __forceinline__ void wait_predecessor(void)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
}

/* CTAs of a cluster, which launch() makes where has_wgmma(); elsewhere neither may be called.
 * The barrier is for all threads of all of them; what they wrote before it is seen behind it, also
 * in shared memory. A CTA whose memory others read may not end before they have: a second one. */
static __device__ __forceinline__ void cluster_sync(void)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    asm volatile("barrier.cluster.arrive.release.aligned;\n\t"
                 "barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

/* Where the CTA of that rank in the cluster has what stands at `mine` in this one's shared memory;
 * from the first cluster_sync() on. */
template <class T> static __device__ __forceinline__ T *cluster_peer(T *mine, unsigned rank)
{
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
    uint64_t there;
    asm("mapa.u64 %0, %1, %2;" : "=l"(there) : "l"(mine), "r"(rank));
    return (T *)there;
#else
    return mine + 0 * rank;
#endif
}

/* ---- Hopper: wgmma, bulk copies, mbarriers (sm_90a alone) ---------------------------------------
 * Where has_wgmma() is 0 the functions below do nothing, and no kernel may call them. */
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
#define TERN_ASM_HOPPER(...) asm volatile(__VA_ARGS__)
#define TERN_HAS_WGMMA 1
#else
#define TERN_ASM_HOPPER(...) (void)0
#define TERN_HAS_WGMMA 0
#endif

/* Whether the machine code that runs was made for sm_90a: a constant. */
static __device__ __forceinline__ int has_wgmma(void)
{
    return TERN_HAS_WGMMA;
}

static __device__ __forceinline__ uint32_t shared_address(const void *p)
{
    return (uint32_t)__cvta_generic_to_shared(p);
}

/* Makes *bar (in shared memory, 8-byte aligned) a barrier whose phases end when `count` arrivals
 * have come and all bytes that were expected are there. Phase 0 is the first. By one thread; then
 * mbarrier_init_fence() by it and __syncthreads(). */
static __device__ __forceinline__ void mbarrier_init(uint64_t *bar, unsigned count)
{
    TERN_ASM_HOPPER("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(bar)),
                    "r"(count) : "memory");
}

/* Shows the barriers that this thread initialised to the engine of the bulk copies. */
static __device__ __forceinline__ void mbarrier_init_fence(void)
{
    TERN_ASM_HOPPER("fence.mbarrier_init.release.cluster;" ::: "memory");
}

/* Arrives, after everything that this thread did. */
static __device__ __forceinline__ void mbarrier_arrive(uint64_t *bar)
{
    TERN_ASM_HOPPER("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(bar))
                    : "memory");
}

/* Arrives, and lets the phase wait for that many bytes of bulk copies besides. */
static __device__ __forceinline__ void mbarrier_expect(uint64_t *bar, unsigned bytes)
{
    TERN_ASM_HOPPER("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(
                        shared_address(bar)), "r"(bytes) : "memory");
}

/* Waits until phase `parity` of the last two has ended: the current phase has the other parity.
 * Whatever led to its end is seen afterwards. */
static __device__ __forceinline__ void mbarrier_wait(uint64_t *bar, unsigned parity)
{
    uint32_t done = !TERN_HAS_WGMMA;
    while (!done)
        TERN_ASM_HOPPER("{ .reg .pred p;\n\t"
                        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n\t"
                        "selp.u32 %0, 1, 0, p; }"
                        : "=r"(done) : "r"(shared_address(bar)), "r"(parity) : "memory");
}

/* Copies `bytes` from global to shared memory, all three multiples of 16, by one thread; *bar is
 * told when they are there. */
static __device__ __forceinline__ void bulk_copy(void *to, const void *from, unsigned bytes,
                                                 uint64_t *bar)
{
    TERN_ASM_HOPPER("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes "
                    "[%0], [%1], %2, [%3];" ::"r"(shared_address(to)), "l"(from), "r"(bytes),
                    "r"(shared_address(bar)) : "memory");
}

/* The descriptor of operand B: rows of 128 bytes of k, one for each column n, groups of eight rows
 * behind each other; 16-byte chunk c of row r stands at chunk c ^ r % 8 (swizzle of 128 bytes).
 * `rows` is aligned to 1024 bytes; 32 bytes of k further is 2 more. */
static __device__ __forceinline__ uint64_t wgmma_operand(const void *rows)
{
    return (uint64_t)(shared_address(rows) >> 4) | (uint64_t)1 << 16 /* unused with swizzle */ |
           (uint64_t)(1024 >> 4) << 32 | (uint64_t)1 << 62;
}

/* By the 128 threads of four warps, the first of them 4i. The fence stands before the first wgmma
 * of a group and after every access to its registers; a commit closes the group; the wait returns
 * when at most N groups are under way. Until then nobody touches d and a of its wgmma. */
static __device__ __forceinline__ void wgmma_fence(void)
{
    TERN_ASM_HOPPER("wgmma.fence.sync.aligned;" ::: "memory");
}

static __device__ __forceinline__ void wgmma_commit(void)
{
    TERN_ASM_HOPPER("wgmma.commit_group.sync.aligned;" ::: "memory");
}

template <int N> static __device__ __forceinline__ void wgmma_wait(void)
{
    TERN_ASM_HOPPER("wgmma.wait_group.sync.aligned %0;" ::"n"(N) : "memory");
}

/* Stands between the making of `a` and the fence: without it the compiler could make it later. */
static __device__ __forceinline__ void wgmma_ready(uint32_t a[4])
{
    asm volatile("" : "+r"(a[0]), "+r"(a[1]), "+r"(a[2]), "+r"(a[3])::"memory");
}

/* Stands between a wait and the use of the sums, and between their first values and a fence:
 * without it the compiler, which believes that a wgmma is done at once, could use or make them
 * beside the wgmma. */
template <int N> static __device__ __forceinline__ void wgmma_done(int d[N / 2])
{
    UNROLL for (int i = 0; i < N / 2; i++) asm volatile("" : "+r"(d[i])::"memory");
}

/* d [64 x N] += a [64 x 32] (unsigned) * b [32 x N] (signed). Warp w of four has rows 16w .. +15,
 * and there a is as in mma_us, d[4j .. 4j + 3] as its d for columns 8j .. 8j + 7; `b` is a
 * descriptor. */
template <int N>
static __device__ __forceinline__ void wgmma_us(int d[N / 2], const uint32_t a[4], uint64_t b);

#define TERN_D4(i) "+r"(d[i]), "+r"(d[i + 1]), "+r"(d[i + 2]), "+r"(d[i + 3])
#define TERN_D8(i) TERN_D4(i), TERN_D4(i + 4)
#define TERN_D16(i) TERN_D8(i), TERN_D8(i + 8)
#define TERN_D32(i) TERN_D16(i), TERN_D16(i + 16)
#define TERN_D64(i) TERN_D32(i), TERN_D32(i + 32)
#define TERN_P8 "%0,%1,%2,%3,%4,%5,%6,%7"
#define TERN_P16 TERN_P8 ",%8,%9,%10,%11,%12,%13,%14,%15"
#define TERN_P32 TERN_P16 ",%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,%30,%31"
#define TERN_P64                                                                                   \
    TERN_P32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47"                    \
             ",%48,%49,%50,%51,%52,%53,%54,%55,%56,%57,%58,%59,%60,%61,%62,%63"
#define TERN_WGMMA(n, sums, places, a0, a1, a2, a3, b0)                                            \
    template <> __device__ __forceinline__ void wgmma_us<n>(int *d, const uint32_t *a, uint64_t b) \
    {                                                                                              \
        TERN_ASM_HOPPER("wgmma.mma_async.sync.aligned.m64n" #n "k32.s32.u8.s8 {" places            \
                        "}, {%" #a0 ",%" #a1 ",%" #a2 ",%" #a3 "}, %" #b0 ", 1;"                   \
                        : sums : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));              \
    }
TERN_WGMMA(16, TERN_D8(0), TERN_P8, 8, 9, 10, 11, 12)
TERN_WGMMA(32, TERN_D16(0), TERN_P16, 16, 17, 18, 19, 20)
TERN_WGMMA(64, TERN_D32(0), TERN_P32, 32, 33, 34, 35, 36)
TERN_WGMMA(128, TERN_D64(0), TERN_P64, 64, 65, 66, 67, 68)
#undef TERN_WGMMA

#endif /* TERN_EMU */
#endif
