/* rng.h - Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3" (SC 2011). A draw is a pure function of (seed, choice, position), so it does not
 * depend on batch mates, on the device or on what was drawn before (N8). */
#ifndef TERN_BASE_RNG_H
#define TERN_BASE_RNG_H

#include "base/f16.h"

/* One block: out[4] from counter[4] and key[2]. */
TERN_HD static inline void tern_philox(uint32_t out[4], const uint32_t counter[4],
                                       const uint32_t key[2])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3];
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        const uint64_t a = (uint64_t)0xD2511F53u * c0, b = (uint64_t)0xCD9E8D57u * c2;
        const uint32_t n0 = (uint32_t)(b >> 32) ^ c1 ^ k0, n2 = (uint32_t)(a >> 32) ^ c3 ^ k1;
        c0 = n0;
        c1 = (uint32_t)b;
        c2 = n2;
        c3 = (uint32_t)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

/* 64 uniform bits for (seed, choice, position). */
TERN_HD static inline uint64_t tern_random_u64(uint64_t seed, uint32_t choice, uint32_t position)
{
    const uint32_t counter[4] = {position, choice, 0, 0};
    const uint32_t key[2] = {(uint32_t)seed, (uint32_t)(seed >> 32)};
    uint32_t out[4];
    tern_philox(out, counter, key);
    return (uint64_t)out[1] << 32 | out[0];
}

#endif
