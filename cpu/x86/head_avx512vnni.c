/* head_avx512vnni.c - HEAD (N7): exact fixed-point logits with vpdpwssd.
 *
 * Bytes of a plane widen to 16 bits and meet x in pairs: |x * plane| summed over a pair is at most
 * 2 * 16319 * 128 < 2^22, so a 32-bit lane takes 512 steps of 32 columns (512 * 4177664 < 2^31);
 * then both planes join in 64 bits. Four rows of x share the widened planes of two table
 * rows. Expected: one row bound by the memory (32.3 GB/s read by one thread), more by one vpdpwssd
 * a cycle, 117 GMAC/s. Measured with kerncheck --bench (one thread of a Zen 4, 2-core VM, 2560
 * columns, 2 planes): 1 row cold 27.6 GB/s; 4 rows in cache 97 GMAC/s, 5.7 x ref; 16 rows of a
 * table beyond the caches 76 GMAC/s. */
#include <immintrin.h>

#include "cpu/x86/x86.h"

#define CHUNK 16384      /* columns that fit 32-bit lanes */
#define VOCAB_BLOCK 32   /* table rows that stay in L2 while rows of x pass by */
#define AHEAD_BYTES 2048 /* a prefetch reaches beyond the planes at their end; it never faults */

#define INLINE inline __attribute__((always_inline))

static INLINE __m512i load_s8(const int8_t *p)
{
    return _mm512_cvtepi8_epi16(_mm256_loadu_si256((const __m256i *)(const void *)p));
}

static INLINE __m512i widen(__m512i x)
{
    return _mm512_add_epi64(_mm512_cvtepi32_epi64(_mm512_castsi512_si256(x)),
                            _mm512_cvtepi32_epi64(_mm512_extracti64x4_epi64(x, 1)));
}

/* 256 * sum of high + sum of low. */
static INLINE int64_t combine(__m512i high, __m512i low)
{
    return _mm512_reduce_add_epi64(
        _mm512_add_epi64(_mm512_slli_epi64(widen(high), 8), widen(low)));
}

/* The logits of one row of x: rows of the table one after the other, so that the planes are two
 * sequential streams; two chains a plane hide the latency. k_pad is a multiple of 64. */
static INLINE void one_row(const tern_head_args *a, int row, tern_range vocab, const int has_low)
{
    const size_t k_pad = (size_t)a->k_pad;
    const int16_t *x = a->xq + (size_t)row * k_pad;
    for (int v = vocab.begin; v < vocab.end; v++) {
        const int8_t *high = a->high + (size_t)v * k_pad;
        const int8_t *low = has_low ? a->low + (size_t)v * k_pad : NULL;
        int64_t total = 0;
        for (size_t begin = 0; begin < k_pad; begin += CHUNK) {
            const size_t end = k_pad - begin < CHUNK ? k_pad : begin + CHUNK;
            __m512i h0 = _mm512_setzero_si512(), h1 = h0, l0 = h0, l1 = h0;
            for (size_t c = begin; c < end; c += 64) {
                const __m512i x0 = _mm512_loadu_si512(x + c), x1 = _mm512_loadu_si512(x + c + 32);
                h0 = _mm512_dpwssd_epi32(h0, load_s8(high + c), x0);
                h1 = _mm512_dpwssd_epi32(h1, load_s8(high + c + 32), x1);
                _mm_prefetch((const char *)high + c + AHEAD_BYTES, _MM_HINT_T0);
                if (!has_low) continue;
                l0 = _mm512_dpwssd_epi32(l0, load_s8(low + c), x0);
                l1 = _mm512_dpwssd_epi32(l1, load_s8(low + c + 32), x1);
                _mm_prefetch((const char *)low + c + AHEAD_BYTES, _MM_HINT_T0);
            }
            total += combine(h0, l0) + combine(h1, l1);
        }
        a->logits[row * a->ld_logits + v] = (float)total * (a->xs[row] * a->scale[v]);
    }
}

/* The logits of n_vocab table rows from v on for n_rows rows of x from `row` on. */
static INLINE void block(const tern_head_args *a, int row, int v, const int n_rows,
                         const int n_vocab)
{
    const size_t k_pad = (size_t)a->k_pad;
    const int16_t *x = a->xq + (size_t)row * k_pad;
    const int8_t *high = a->high + (size_t)v * k_pad;
    const int8_t *low = a->low ? a->low + (size_t)v * k_pad : NULL;
    int64_t total[8] = {0};
    for (size_t begin = 0; begin < k_pad; begin += CHUNK) {
        const size_t end = k_pad - begin < CHUNK ? k_pad : begin + CHUNK;
        __m512i h[8], l[8];
        for (int i = 0; i < n_rows * n_vocab; i++) h[i] = l[i] = _mm512_setzero_si512();
        for (size_t c = begin; c < end; c += 32)
            for (int j = 0; j < n_vocab; j++) {
                const __m512i w = load_s8(high + (size_t)j * k_pad + c);
                const __m512i u =
                    low ? load_s8(low + (size_t)j * k_pad + c) : _mm512_setzero_si512();
                for (int r = 0; r < n_rows; r++) {
                    const __m512i xr = _mm512_loadu_si512(x + (size_t)r * k_pad + c);
                    h[r * n_vocab + j] = _mm512_dpwssd_epi32(h[r * n_vocab + j], w, xr);
                    l[r * n_vocab + j] = _mm512_dpwssd_epi32(l[r * n_vocab + j], u, xr);
                }
            }
        for (int i = 0; i < n_rows * n_vocab; i++) total[i] += combine(h[i], l[i]);
    }
    for (int r = 0; r < n_rows; r++)
        for (int j = 0; j < n_vocab; j++)
            a->logits[(row + r) * a->ld_logits + v + j] =
                (float)total[r * n_vocab + j] * (a->xs[row + r] * a->scale[v + j]);
}

/* Table rows that stay in L2 while the rows of x pass by. */
static void some_rows(const tern_head_args *a, tern_range rows, tern_range vocab)
{
    int row = rows.begin;
    for (; row + 4 <= rows.end; row += 4) {
        int v = vocab.begin;
        for (; v + 2 <= vocab.end; v += 2) block(a, row, v, 4, 2);
        if (v < vocab.end) block(a, row, v, 4, 1);
    }
    for (; row < rows.end; row++) {
        if (a->low)
            one_row(a, row, vocab, 1);
        else
            one_row(a, row, vocab, 0);
    }
}

void tern_head_logits_avx512vnni(const tern_head_args *a, tern_range rows, tern_range vocab)
{
    const int step = rows.end - rows.begin == 1 ? vocab.end - vocab.begin : VOCAB_BLOCK;
    for (int v = vocab.begin; v < vocab.end; v += step) {
        const int end = vocab.end - v < step ? vocab.end : v + step;
        some_rows(a, rows, (tern_range){v, end});
    }
}
