/* attn_mma.cuh - one block of 64 positions of i8 pages on integer tensor cores, for the up to 16
 * rows of a CTA that has several tokens of a prompt.
 *
 * Scores are q8 [16, hd] times K [hd, 64], values the planes a and b of u [16, 64] times V [64,
 * hd]: exact sums, so the bits are those of attn_block.cuh. Words of K and V already hold four
 * elements along the sum, as a fragment of mma_ss wants them. A warp has 16 keys (scores) or 32
 * components (values); it numbers them so that a lane reads neighbours in one load and owns
 * neighbours of the result. Tiles lie in shared memory with their 16-byte pieces permuted, and rows
 * of q, p and o with a gap behind them, so that no load meets a bank twice.
 *
 * Warp instructions of a warp for 16 rows and a block, hd = 128, counted along the usual path in
 * sm_90a's machine code, beside those of attn_block.cuh: scores 210 (550), values with the fold of
 * o 270 (1350), softmax 500 (1200), copies 220 (220): 1220 (3380), so 305 a row (845). */
#ifndef TERN_CUDA_ATTN_MMA_CUH
#define TERN_CUDA_ATTN_MMA_CUH

#include "cuda/attn_block.cuh"

namespace TERN_GPU {

#define ATTN_K_SHIFT 8 /* lines of K: 64 words */

/* Where byte i of a tile of lines of 2^shift bytes lies in shared memory: piece c of line n in
 * place c ^ 2 * (n % 4). */
static __device__ inline size_t attn_swizzled(size_t i, int shift)
{
    return i ^ ((i >> shift & 3) << 5);
}

/* Words `word` and those behind it of a line of a tile: up to four that share a piece. */
static __device__ inline const void *attn_piece(const uint8_t *tile, int line, int word, int shift)
{
    const size_t i = ((size_t)line << shift) + 4 * (size_t)word;
    return tile + attn_swizzled(i, shift);
}

/* Words of a row of q8. */
static __host__ __device__ inline int attn_ldq(int hd)
{
    return hd / 4 + 4;
}

/* Zeros for the rows that the CTA lacks of 16: they are multiplied, too. */
static __device__ inline void attn_clear_rows(const attn_smem &s, int rows, int hd)
{
    for (int row = rows + warp_index(); row < ATTN_ROWS; row += ATTN_WARPS) {
        uint32_t *q = (uint32_t *)(void *)s.q + row * attn_ldq(hd);
        for (int i = warp_lane(); i < hd / 4; i += WARP_LANES) q[i] = 0;
        float *p = s.p + row * attn_pitch<ATTN_MMA>::P;
        for (int i = warp_lane(); i < TERN_PAGE_TOK; i += WARP_LANES) p[i] = 0.0f;
    }
}

/* Rows r and r + 8 of 32 elements along the sum, from word `at` on of lines of `ld` words. */
static __device__ inline void attn_load_a(uint32_t a[4], const uint32_t *from, int ld, int at)
{
    const uint32_t *line = from + warp_lane() / 4 * ld + warp_lane() % 4 + at;
    a[0] = line[0];
    a[1] = line[8 * ld];
    a[2] = line[4];
    a[3] = line[8 * ld + 4];
}

/* s_j of 16 keys for all rows. Tile t of 8 columns has keys 2n + t of the warp's, so a lane owns
 * four neighbours. */
static __device__ inline void attn_scores_mma(const attn_smem &s, const uint8_t *tile,
                                              const float *sk, int rows, int hd)
{
    const int r = warp_lane() / 4, c = warp_lane() % 4, first = 16 * warp_index();
    const uint32_t *q = (const uint32_t *)(const void *)s.q;
    int sum[2][4] = {};
    for (int d = 0; d < hd / 4; d += 8) {
        uint32_t a[4];
        attn_load_a(a, q, attn_ldq(hd), d);
        const uint2 low = *(const uint2 *)attn_piece(tile, d + c, first + 2 * r, ATTN_K_SHIFT);
        const uint2 high = *(const uint2 *)attn_piece(tile, d + 4 + c, first + 2 * r, ATTN_K_SHIFT);
        const uint32_t b[2][2] = {{low.x, high.x}, {low.y, high.y}};
        mma_ss(sum[0], a, b[0]);
        mma_ss(sum[1], a, b[1]);
    }
    const int key = first + 4 * c;
    for (int i = 0; i < 2; i++) {
        const int row = r + 8 * i;
        if (row >= rows) continue;
        const float unit = s.row[row].sq_c;
        *(float4 *)(void *)&s.p[row * attn_pitch<ATTN_MMA>::P + key] =
            make_float4((float)sum[0][2 * i] * (unit * sk[key]),
                        (float)sum[1][2 * i] * (unit * sk[key + 1]),
                        (float)sum[0][2 * i + 1] * (unit * sk[key + 2]),
                        (float)sum[1][2 * i + 1] * (unit * sk[key + 3]));
    }
}

/* The largest of eight neighbouring lanes. */
static __device__ inline float attn_octet_max(float x)
{
    for (int away = 4; away > 0; away /= 2)
        x = max_of(x, __shfl_xor_sync(WARP_ALL, x, away));
    return x;
}

/* Sum of 64 by the tree of N6: a lane holds keys 4l .. 4l + 3 and 32 + those, l = lane % 8. */
static __device__ inline float attn_octet_tree(const float v[8])
{
    float t[4];
    for (int i = 0; i < 4; i++) {
        t[i] = v[i] + v[4 + i];
        for (int away = 4; away > 0; away /= 2) t[i] += __shfl_xor_sync(WARP_ALL, t[i], away);
    }
    return (t[0] + t[2]) + (t[1] + t[3]);
}

/* Four u_j as a word of plane a and a word of plane b. */
static __device__ inline void attn_put_planes(uint32_t *a, uint32_t *b, const float w[4],
                                              float factor)
{
    uint32_t high = 0, low = 0;
    for (int i = 0; i < 4; i++) {
        const uint32_t u = (uint32_t)(int)rintf(w[i] * factor);
        high |= u >> 7 << 8 * i;
        low |= (u & 127) << 8 * i;
    }
    *a = high;
    *b = low;
}

/* attn_softmax for i8 pages, eight lanes a row and four rows a warp. */
static __device__ inline void attn_softmax_mma(const attn_smem &s, int rows, const float *sv,
                                               attn_step step)
{
    const int l = warp_lane() % 8, row = 4 * warp_index() + warp_lane() / 8;
    const bool live = row < rows && step.block < s.row[row].end;
    const int n = live ? s.row[row].pos + 1 - step.block * TERN_PAGE_TOK : 0;
    float *p = s.p + row * attn_pitch<ATTN_MMA>::P;
    float v[8], scale[8], m = -INFINITY, largest = 0.0f;
    for (int half = 0; half < 2; half++) {
        const int at = TERN_PAGE_TOK / 2 * half + 4 * l;
        copy_floats<4>(v + 4 * half, p + at);
        copy_floats<4>(scale + 4 * half, sv + at);
        for (int i = 0; i < 4; i++)
            if (at + i < n) m = max_of(m, v[4 * half + i]);
    }
    m = attn_octet_max(m);
    for (int i = 0; i < 8; i++) {
        const int key = TERN_PAGE_TOK / 2 * (i / 4) + 4 * l + i % 4;
        v[i] = key < n ? tern_exp2_weight(v[i] - m) : 0.0f;
    }
    const float sum = attn_octet_tree(v);
    for (int i = 0; i < 8; i++) {
        v[i] *= scale[i];
        largest = max_of(largest, v[i]);
    }
    largest = attn_octet_max(largest);
    __syncwarp(); /* every lane has read its floats of the row that the planes overwrite */
    if (!live) return;
    const float factor = largest > 0.0f ? 16383.0f / largest : 0.0f;
    uint32_t *u = (uint32_t *)(void *)p;
    attn_put_planes(&u[l], &u[16 + l], v, factor);
    attn_put_planes(&u[8 + l], &u[24 + l], v + 4, factor);
    if (l > 0) return;
    s.row[row].unit = largest / 16383.0f;
    attn_fold_row(&s.row[row], m, sum, step);
}

/* o_d for all rows, 32 components at a time. Tile t of 8 columns has components 4n + t. 128*a + b
 * is one sum: first a, then 128 times that, then b. */
static __device__ inline void attn_values_mma(const attn_smem &s, const uint8_t *tile, int rows,
                                              int hd, int shift, attn_step step)
{
    const int r = warp_lane() / 4, c = warp_lane() % 4;
    const uint32_t *u = (const uint32_t *)(const void *)s.p;
    for (int first = 32 * warp_index(); first < hd; first += 32 * ATTN_WARPS) {
        int sum[4][4] = {};
        for (int part = 0; part < 4; part++) { /* plane a of 32 positions twice, then plane b */
            const int at = part % 2 * 8;
            uint32_t a[4];
            attn_load_a(a, u, attn_pitch<ATTN_MMA>::P, part / 2 * TERN_PAGE_TOK / 4 + at);
            const uint4 low = *(const uint4 *)attn_piece(tile, at + c, first + 4 * r, shift);
            const uint4 high = *(const uint4 *)attn_piece(tile, at + 4 + c, first + 4 * r, shift);
            const uint32_t b[4][2] = {
                {low.x, high.x}, {low.y, high.y}, {low.z, high.z}, {low.w, high.w}};
            for (int t = 0; t < 4; t++) {
                for (int i = 0; i < 4 && part == 2; i++) sum[t][i] *= 128;
                mma_ss(sum[t], a, b[t]);
            }
        }
        for (int i = 0; i < 2; i++) {
            const int row = r + 8 * i;
            if (row >= rows) continue;
            const float unit = s.row[row].unit;
            const int at = row * (hd + attn_pitch<ATTN_MMA>::O_GAP) + first + 8 * c;
            for (int j = 0; j < 2; j++) {
                float o[4];
                for (int t = 0; t < 4; t++) o[t] = (float)sum[t][2 * i + j] * unit;
                attn_fold<4>(s, row, at + 4 * j, o, step);
            }
        }
    }
}

} /* namespace TERN_GPU */
#endif
