/* emu_vector.h - the small vector types of CUDA: the same sizes, alignments and names. */
#ifndef TERN_EMU_VECTOR_H
#define TERN_EMU_VECTOR_H

#include <stdint.h>

namespace tern_emu_rt {

/* name##2 and name##4 with their make_ functions; vectors are aligned as a load of their size
 * asks, up to 16 bytes. */
#define TERN_EMU_VECTOR(name, type)                                                                \
    struct alignas(2 * sizeof(type)) name##2 {                                                     \
        type x, y;                                                                                 \
    };                                                                                             \
    struct alignas(sizeof(type) == 8 ? 16 : 4 * sizeof(type)) name##4 {                            \
        type x, y, z, w;                                                                           \
    };                                                                                             \
    static inline name##2 make_##name##2(type x, type y)                                           \
    {                                                                                              \
        return {x, y};                                                                             \
    }                                                                                              \
    static inline name##4 make_##name##4(type x, type y, type z, type w)                           \
    {                                                                                              \
        return {x, y, z, w};                                                                       \
    }
TERN_EMU_VECTOR(char, signed char)
TERN_EMU_VECTOR(uchar, unsigned char)
TERN_EMU_VECTOR(short, short)
TERN_EMU_VECTOR(ushort, unsigned short)
TERN_EMU_VECTOR(int, int)
TERN_EMU_VECTOR(uint, unsigned)
TERN_EMU_VECTOR(longlong, long long)
TERN_EMU_VECTOR(ulonglong, unsigned long long)
TERN_EMU_VECTOR(float, float)
TERN_EMU_VECTOR(double, double)
#undef TERN_EMU_VECTOR

struct uint3 {
    unsigned x, y, z;
};

/* Sizes of a grid or a block: what is left out is 1. */
struct dim3 {
    unsigned x, y, z;
    constexpr dim3(unsigned nx = 1, unsigned ny = 1, unsigned nz = 1) : x(nx), y(ny), z(nz)
    {
    }
};

} /* namespace tern_emu_rt */
#endif
