/* emu_device.h - the device side of CUDA C++ as plain C++: built-in variables, collectives, atomics
 * and intrinsics, each with the meaning that the CUDA programming guide gives it.
 *
 * A collective remembers the line that called it (the default arguments), so that threads which
 * meet at different places are noticed, and the report can say where. */
#ifndef TERN_EMU_DEVICE_H
#define TERN_EMU_DEVICE_H

#include <math.h>
#include <string.h>

#include "emu_thread.h"

#define TERN_EMU_WHERE const char *file = __builtin_FILE(), int line = __builtin_LINE()

namespace tern_emu_rt {

[[maybe_unused]] static const uint3 &threadIdx = emu_self.thread_index;
[[maybe_unused]] static const uint3 &blockIdx = emu_self.block_index;
[[maybe_unused]] static const dim3 &blockDim = emu_self.block;
[[maybe_unused]] static const dim3 &gridDim = emu_self.grid;

/* ---- collectives ---------------------------------------------------------------------------- */

static inline void __syncthreads(TERN_EMU_WHERE)
{
    emu_barrier({"__syncthreads", file, line}, 0);
}

static inline int __syncthreads_count(int vote, TERN_EMU_WHERE)
{
    return emu_barrier({"__syncthreads_count", file, line}, vote);
}

static inline int __syncthreads_or(int vote, TERN_EMU_WHERE)
{
    return emu_barrier({"__syncthreads_or", file, line}, vote) > 0;
}

static inline int __syncthreads_and(int vote, TERN_EMU_WHERE)
{
    return emu_barrier({"__syncthreads_and", file, line}, !vote) == 0;
}

/* What a lane brings to a shuffle: its value and the lane it wants to hear. */
struct emu_shuffle {
    uint64_t value, heard;
    int from;
};
void emu_shuffle_act(void *const *lanes);

template <class T> static inline T emu_hear(emu_site site, unsigned mask, T value, int from)
{
    static_assert(sizeof(T) <= 8, "shuffles move 4 or 8 bytes");
    emu_shuffle mine = {0, 0, from};
    memcpy(&mine.value, &value, sizeof value);
    emu_meet(site, mask, emu_shuffle_act, &mine);
    memcpy(&value, &mine.heard, sizeof value);
    return value;
}

template <class T>
static inline T __shfl_sync(unsigned mask, T value, int lane, int width = 32, TERN_EMU_WHERE)
{
    const int base = emu_self.lane & ~(width - 1);
    return emu_hear({"__shfl_sync", file, line}, mask, value, base | (lane & (width - 1)));
}

template <class T>
static inline T __shfl_up_sync(unsigned mask, T value, unsigned delta, int width = 32,
                               TERN_EMU_WHERE)
{
    const int place = emu_self.lane & (width - 1);
    const int from = (int)delta <= place ? emu_self.lane - (int)delta : emu_self.lane;
    return emu_hear({"__shfl_up_sync", file, line}, mask, value, from);
}

template <class T>
static inline T __shfl_down_sync(unsigned mask, T value, unsigned delta, int width = 32,
                                 TERN_EMU_WHERE)
{
    const int place = emu_self.lane & (width - 1);
    const int from = (int)delta < width - place ? emu_self.lane + (int)delta : emu_self.lane;
    return emu_hear({"__shfl_down_sync", file, line}, mask, value, from);
}

template <class T>
static inline T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, TERN_EMU_WHERE)
{
    const int from = emu_self.lane ^ bits;
    const int end = (emu_self.lane & ~(width - 1)) + width; /* of the lane's own segment */
    return emu_hear({"__shfl_xor_sync", file, line}, mask, value,
                    from < end ? from : emu_self.lane);
}

/* What a lane brings to a vote or a reduction, and what all get. */
struct emu_vote {
    unsigned value, result;
};
void emu_ballot_act(void *const *lanes);
void emu_reduce_add_act(void *const *lanes);
void emu_reduce_min_act(void *const *lanes);
void emu_reduce_max_act(void *const *lanes);
void emu_reduce_or_act(void *const *lanes);
void emu_sync_act(void *const *lanes);

static inline unsigned emu_agree(emu_site site, unsigned mask, unsigned value,
                                 void (*act)(void *const *))
{
    emu_vote mine = {value, 0};
    emu_meet(site, mask, act, &mine);
    return mine.result;
}

static inline void __syncwarp(unsigned mask = 0xffffffffu, TERN_EMU_WHERE)
{
    emu_meet({"__syncwarp", file, line}, mask, emu_sync_act, nullptr);
}

static inline unsigned __ballot_sync(unsigned mask, int vote, TERN_EMU_WHERE)
{
    return emu_agree({"__ballot_sync", file, line}, mask, vote != 0, emu_ballot_act);
}

static inline int __any_sync(unsigned mask, int vote, TERN_EMU_WHERE)
{
    return emu_agree({"__any_sync", file, line}, mask, vote != 0, emu_ballot_act) != 0;
}

static inline int __all_sync(unsigned mask, int vote, TERN_EMU_WHERE)
{
    return emu_agree({"__all_sync", file, line}, mask, vote != 0, emu_ballot_act) == 0xffffffffu;
}

static inline unsigned __reduce_add_sync(unsigned mask, unsigned value, TERN_EMU_WHERE)
{
    return emu_agree({"__reduce_add_sync", file, line}, mask, value, emu_reduce_add_act);
}

static inline int __reduce_add_sync(unsigned mask, int value, TERN_EMU_WHERE)
{
    return (int)emu_agree({"__reduce_add_sync", file, line}, mask, (unsigned)value,
                          emu_reduce_add_act);
}

static inline unsigned __reduce_or_sync(unsigned mask, unsigned value, TERN_EMU_WHERE)
{
    return emu_agree({"__reduce_or_sync", file, line}, mask, value, emu_reduce_or_act);
}

static inline unsigned __reduce_max_sync(unsigned mask, unsigned value, TERN_EMU_WHERE)
{
    return emu_agree({"__reduce_max_sync", file, line}, mask, value, emu_reduce_max_act);
}

static inline unsigned __reduce_min_sync(unsigned mask, unsigned value, TERN_EMU_WHERE)
{
    return emu_agree({"__reduce_min_sync", file, line}, mask, value, emu_reduce_min_act);
}

/* Signed values in the order of unsigned ones: flip the sign bit on the way in and out. */
static inline int __reduce_max_sync(unsigned mask, int value, TERN_EMU_WHERE)
{
    return (int)(emu_agree({"__reduce_max_sync", file, line}, mask,
                           (unsigned)value ^ 0x80000000u, emu_reduce_max_act) ^ 0x80000000u);
}

static inline int __reduce_min_sync(unsigned mask, int value, TERN_EMU_WHERE)
{
    return (int)(emu_agree({"__reduce_min_sync", file, line}, mask,
                           (unsigned)value ^ 0x80000000u, emu_reduce_min_act) ^ 0x80000000u);
}

/* ---- memory --------------------------------------------------------------------------------- */

static inline void __threadfence(void)
{
    emu_maybe_yield();
}

static inline void __threadfence_block(void)
{
    emu_maybe_yield();
}

/* One kernel runs at a time and threads change only where they wait: a plain update is atomic. */
template <class T> struct emu_same_of {
    typedef T type;
};
/* T, in a place that the compiler does not deduce it from. */
template <class T> using emu_same = typename emu_same_of<T>::type;
#define TERN_EMU_ATOMIC(name, next)                                                                \
    template <class T> static inline T name(T *at, emu_same<T> value)                              \
    {                                                                                              \
        emu_maybe_yield();                                                                         \
        const T old = *at;                                                                         \
        *at = next;                                                                                \
        return old;                                                                                \
    }
TERN_EMU_ATOMIC(atomicAdd, (T)(old + value))
TERN_EMU_ATOMIC(atomicSub, (T)(old - value))
TERN_EMU_ATOMIC(atomicExch, value)
TERN_EMU_ATOMIC(atomicMax, old > value ? old : value)
TERN_EMU_ATOMIC(atomicMin, old < value ? old : value)
TERN_EMU_ATOMIC(atomicOr, (T)(old | value))
TERN_EMU_ATOMIC(atomicAnd, (T)(old & value))
TERN_EMU_ATOMIC(atomicXor, (T)(old ^ value))
#undef TERN_EMU_ATOMIC

template <class T> static inline T atomicCAS(T *at, emu_same<T> expected, emu_same<T> value)
{
    emu_maybe_yield();
    const T old = *at;
    if (old == expected) *at = value;
    return old;
}

/* Loads and stores with a caching hint: the hint has no meaning here. */
#define TERN_EMU_LOAD(name)                                                                        \
    template <class T> static inline T name(const T *from)                                         \
    {                                                                                              \
        return *from;                                                                              \
    }
#define TERN_EMU_STORE(name)                                                                       \
    template <class T> static inline void name(T *to, emu_same<T> value)                           \
    {                                                                                              \
        *to = value;                                                                               \
    }
TERN_EMU_LOAD(__ldg)
TERN_EMU_LOAD(__ldcs)
TERN_EMU_LOAD(__ldcg)
TERN_EMU_LOAD(__ldca)
TERN_EMU_STORE(__stcs)
TERN_EMU_STORE(__stcg)
#undef TERN_EMU_LOAD
#undef TERN_EMU_STORE

static inline size_t __cvta_generic_to_shared(const void *p)
{
    return (size_t)((const uint8_t *)p - emu_self.smem);
}

/* ---- integers and bits ---------------------------------------------------------------------- */

static inline int __mulhi(int a, int b)
{
    return (int)(((long long)a * b) >> 32);
}

static inline unsigned __umulhi(unsigned a, unsigned b)
{
    return (unsigned)(((unsigned long long)a * b) >> 32);
}

static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b)
{
    __extension__ typedef unsigned __int128 u128;
    return (unsigned long long)(((u128)a * b) >> 64);
}

static inline int __popc(unsigned x)
{
    return __builtin_popcount(x);
}

static inline int __popcll(unsigned long long x)
{
    return __builtin_popcountll(x);
}

static inline int __clz(int x)
{
    return x ? __builtin_clz((unsigned)x) : 32;
}

static inline int __clzll(long long x)
{
    return x ? __builtin_clzll((unsigned long long)x) : 64;
}

static inline int __ffs(int x)
{
    return __builtin_ffs(x);
}

static inline int __ffsll(long long x)
{
    return __builtin_ffsll(x);
}

/* Byte i of the result is byte (s >> 4i) & 7 of the eight bytes of y:x, or eight times its sign. */
static inline unsigned __byte_perm(unsigned x, unsigned y, unsigned s)
{
    const unsigned long long both = (unsigned long long)y << 32 | x;
    unsigned out = 0;
    for (int i = 0; i < 4; i++) {
        const unsigned pick = s >> (4 * i) & 15;
        unsigned byte = (unsigned)(both >> (8 * (pick & 7))) & 255;
        if (pick & 8) byte = byte & 128 ? 255 : 0;
        out |= byte << (8 * i);
    }
    return out;
}

#define TERN_EMU_BITS(name, to_type, from_type)                                                    \
    static inline to_type name(from_type x)                                                        \
    {                                                                                              \
        to_type y;                                                                                 \
        memcpy(&y, &x, sizeof y);                                                                  \
        return y;                                                                                  \
    }
TERN_EMU_BITS(__float_as_uint, unsigned, float)
TERN_EMU_BITS(__uint_as_float, float, unsigned)
TERN_EMU_BITS(__float_as_int, int, float)
TERN_EMU_BITS(__int_as_float, float, int)
TERN_EMU_BITS(__double_as_longlong, long long, double)
TERN_EMU_BITS(__longlong_as_double, double, long long)
#undef TERN_EMU_BITS

/* min and max of equal types, as CUDA declares them for device code. */
#define TERN_EMU_MIN_MAX(type)                                                                     \
    static inline type min(type a, type b)                                                         \
    {                                                                                              \
        return a < b ? a : b;                                                                      \
    }                                                                                              \
    static inline type max(type a, type b)                                                         \
    {                                                                                              \
        return a > b ? a : b;                                                                      \
    }
TERN_EMU_MIN_MAX(int)
TERN_EMU_MIN_MAX(unsigned)
TERN_EMU_MIN_MAX(long)
TERN_EMU_MIN_MAX(unsigned long)
TERN_EMU_MIN_MAX(long long)
TERN_EMU_MIN_MAX(unsigned long long)
#undef TERN_EMU_MIN_MAX

} /* namespace tern_emu_rt */
#endif
