/* attn_block.cuh - one block of 64 positions for the rows of a CTA: scores, weights and values of
 * both kinds of pages. HT rows (1, 2 or 4) share every element of K and V that a thread loads.
 *
 * For 4 elements of f16 and HT = 2, scores take 18 instructions for 8 multiply-adds (4 loads, 4
 * conversions, 2 broadcasts of four), values 30 for 16; for HT = 4, 28 for 16 and 48 for 32. i8
 * takes one dp4a (scores) or two (values) for four elements of a row, beside a load for HT rows. */
#ifndef TERN_CUDA_ATTN_BLOCK_CUH
#define TERN_CUDA_ATTN_BLOCK_CUH

#include "cuda/attn.cuh"

namespace TERN_GPU {

/* s_j of f16 pages: an item of work is HT rows and 32 keys, a lane has one key. */
template <int HT>
static __device__ inline void attn_scores_f16(const attn_smem &s, const uint16_t *k, int rows,
                                              int hd)
{
    for (int item = warp_index(); item < rows / HT * 2; item += ATTN_WARPS) {
        const int key = item % 2 * WARP_LANES + warp_lane(), row = item / 2 * HT;
        const float4 *q = (const float4 *)(const void *)(s.q + row * hd);
        float sum[HT] = {};
        for (int d = 0; d < hd; d += 4) {
            float four[4 * HT];
            for (int i = 0; i < HT; i++) *(float4 *)(void *)&four[4 * i] = q[d / 4 * HT + i];
            for (int i = 0; i < 4; i++) {
                const float k_d = f32_of_f16(k[(d + i) * TERN_PAGE_TOK + key]);
                for (int h = 0; h < HT; h++) sum[h] = fmaf(four[i * HT + h], k_d, sum[h]);
            }
        }
        for (int h = 0; h < HT; h++) s.p[(row + h) * TERN_PAGE_TOK + key] = sum[h];
    }
}

/* s_j of i8 pages. Bound: |dot| <= 256 * 127 * 127 < 2^23. */
template <int HT>
static __device__ inline void attn_scores_i8(const attn_smem &s, const uint32_t *k,
                                             const float *sk, int rows, int hd)
{
    for (int item = warp_index(); item < rows / HT * 2; item += ATTN_WARPS) {
        const int key = item % 2 * WARP_LANES + warp_lane(), row = item / 2 * HT;
        const uint32_t *q = (const uint32_t *)(const void *)s.q + row * (hd / 4);
        int dot[HT] = {};
        for (int d = 0; d < hd / 4; d++) {
            const uint32_t k_d = k[d * TERN_PAGE_TOK + key];
            for (int h = 0; h < HT; h++) dot[h] = dp4a_ss(q[d * HT + h], k_d, dot[h]);
        }
        for (int h = 0; h < HT; h++)
            s.p[(row + h) * TERN_PAGE_TOK + key] =
                (float)dot[h] * (s.row[row + h].sq_c * sk[key]);
    }
}

/* Where a block stands in a CTA's run of them, which begins at `begin`. */
struct attn_step {
    int block, begin;
    int n; /* present keys of the row that has most */
};

static __device__ inline bool begins_group(attn_step step)
{
    return step.block == step.begin || step.block % TERN_GROUP_PAGES == 0;
}

static __device__ inline bool ends_group(attn_step step, const attn_row *r)
{
    return step.block + 1 == r->end || (step.block + 1) % TERN_GROUP_PAGES == 0;
}

static __device__ inline bool in_first_group(attn_step step)
{
    return step.block / TERN_GROUP_PAGES == step.begin / TERN_GROUP_PAGES;
}

/* N floats, 2 or 4, aligned to all of them. */
template <int N> static __device__ inline void copy_floats(float *to, const float *from)
{
    if (N == 4)
        *(float4 *)(void *)to = *(const float4 *)(const void *)from;
    else
        *(float2 *)(void *)to = *(const float2 *)(const void *)from;
}

/* o of a block, N components of a row, into the group, and the group's into the total. A row that
 * ended before this block has nothing to add. */
template <int N>
static __device__ inline void attn_fold(const attn_smem &s, int row, int at, float o[N],
                                        attn_step step)
{
    const attn_row *r = &s.row[row];
    if (step.block >= r->end) return;
    float before[N];
    if (!begins_group(step)) {
        copy_floats<N>(before, s.group + at);
        for (int i = 0; i < N; i++) o[i] = attn_join_o(before[i], o[i], r->block);
    }
    copy_floats<N>(s.group + at, o);
    if (!ends_group(step, r)) return;
    if (!in_first_group(step)) {
        copy_floats<N>(before, s.total + at);
        for (int i = 0; i < N; i++) o[i] = attn_join_o(before[i], o[i], r->group);
    }
    copy_floats<N>(s.total + at, o);
}

/* o_d of f16 pages: an item is HT rows and 64 components, a lane has two. Keys from n on have p = 0
 * in all rows and are passed over, but for those that fill the last four. */
template <int HT>
static __device__ inline void attn_values_f16(const attn_smem &s, const uint16_t *v, int rows,
                                              int hd, attn_step step)
{
    const int chunks = (hd + ATTN_COLS - 1) / ATTN_COLS;
    for (int item = warp_index(); item < rows / HT * chunks; item += ATTN_WARPS) {
        const int c = item % chunks * ATTN_COLS + 2 * warp_lane(), row = item / chunks * HT;
        if (c >= hd) continue;
        float o[HT][2] = {};
        for (int j = 0; j < step.n; j += 4) {
            float p[HT][4];
            for (int h = 0; h < HT; h++)
                *(float4 *)(void *)p[h] =
                    *(const float4 *)(const void *)&s.p[(row + h) * TERN_PAGE_TOK + j];
            for (int i = 0; i < 4; i++) {
                const uint32_t pair = *(const uint32_t *)(const void *)&v[(j + i) * hd + c];
                const float v0 = f32_of_f16((uint16_t)pair);
                const float v1 = f32_of_f16((uint16_t)(pair >> 16));
                for (int h = 0; h < HT; h++) {
                    o[h][0] = fmaf(p[h][i], v0, o[h][0]);
                    o[h][1] = fmaf(p[h][i], v1, o[h][1]);
                }
            }
        }
        for (int h = 0; h < HT; h++) attn_fold<2>(s, row + h, (row + h) * hd + c, o[h], step);
    }
}

/* o_d of i8 pages. Bound: |sum of a*v| <= 64 * 127 * 127 < 2^20, and 128 times that < 2^27. */
template <int HT>
static __device__ inline void attn_values_i8(const attn_smem &s, const uint32_t *v, int rows,
                                             int hd, attn_step step)
{
    const int chunks = (hd + ATTN_COLS - 1) / ATTN_COLS;
    for (int item = warp_index(); item < rows / HT * chunks; item += ATTN_WARPS) {
        const int c = item % chunks * ATTN_COLS + 2 * warp_lane(), row = item / chunks * HT;
        if (c >= hd) continue;
        int a[HT][2] = {}, b[HT][2] = {};
        for (int j = 0; j < (step.n + 3) / 4; j++) {
            const uint2 pair = *(const uint2 *)(const void *)&v[j * hd + c];
            for (int h = 0; h < HT; h++) {
                const uint32_t *u =
                    (const uint32_t *)(const void *)&s.p[(row + h) * TERN_PAGE_TOK];
                a[h][0] = dp4a_ss(u[j], pair.x, a[h][0]);
                a[h][1] = dp4a_ss(u[j], pair.y, a[h][1]);
                b[h][0] = dp4a_ss(u[TERN_PAGE_TOK / 4 + j], pair.x, b[h][0]);
                b[h][1] = dp4a_ss(u[TERN_PAGE_TOK / 4 + j], pair.y, b[h][1]);
            }
        }
        for (int h = 0; h < HT; h++) {
            const float unit = s.row[row + h].unit;
            float o[2] = {(float)(128 * a[h][0] + b[h][0]) * unit,
                          (float)(128 * a[h][1] + b[h][1]) * unit};
            attn_fold<2>(s, row + h, (row + h) * hd + c, o, step);
        }
    }
}

/* ---- softmax -------------------------------------------------------------------------------- */

/* The two p_j of a lane, keys lane and lane + 32, as integers u_j, W = max p_j * sv_j. */
static __device__ inline void attn_planes(const attn_smem &s, int row, const float *sv,
                                          float p_low, float p_high)
{
    const int lane = warp_lane();
    uint8_t *u = (uint8_t *)(void *)&s.p[row * TERN_PAGE_TOK];
    const float w_low = p_low * sv[lane], w_high = p_high * sv[WARP_LANES + lane];
    const float largest = warp_max(max_of(max_of(0.0f, w_low), w_high));
    const int low = largest > 0.0f ? (int)rintf(w_low * (16383.0f / largest)) : 0;
    const int high = largest > 0.0f ? (int)rintf(w_high * (16383.0f / largest)) : 0;
    __syncwarp(); /* every lane has read its floats of the row that the planes overwrite */
    u[lane] = (uint8_t)(low >> 7);
    u[WARP_LANES + lane] = (uint8_t)(high >> 7);
    u[TERN_PAGE_TOK + lane] = (uint8_t)(low & 127);
    u[TERN_PAGE_TOK + WARP_LANES + lane] = (uint8_t)(high & 127);
    if (lane == 0) s.row[row].unit = largest / 16383.0f;
}

/* m and l of a block into the row's folds, with the factors that its values will need. */
static __device__ inline void attn_fold_row(attn_row *r, float m, float l, attn_step step)
{
    if (begins_group(step)) {
        r->m = m;
        r->l = l;
    } else {
        r->block = attn_join(&r->m, m);
        r->l = attn_join_l(r->l, l, r->block);
    }
    if (!ends_group(step, r)) return;
    if (in_first_group(step)) {
        r->total_m = r->m;
        r->total_l = r->l;
    } else {
        r->group = attn_join(&r->total_m, r->m);
        r->total_l = attn_join_l(r->total_l, r->l, r->group);
    }
}

/* Scores of the present keys to weights, a warp for each row. sv: NULL for f16 pages. */
static __device__ inline void attn_softmax(const attn_smem &s, int rows, const float *sv,
                                           attn_step step)
{
    const int lane = warp_lane();
    for (int row = warp_index(); row < rows; row += ATTN_WARPS) {
        if (step.block >= s.row[row].end) continue;
        const int n = s.row[row].pos + 1 - step.block * TERN_PAGE_TOK;
        float *p = &s.p[row * TERN_PAGE_TOK];
        const bool has_low = lane < n, has_high = lane + WARP_LANES < n;
        const float low = p[lane], high = p[WARP_LANES + lane];
        const float m = warp_max(
            max_of(has_low ? low : -INFINITY, has_high ? high : -INFINITY));
        const float p_low = has_low ? tern_exp2_weight(low - m) : 0.0f;
        const float p_high = has_high ? tern_exp2_weight(high - m) : 0.0f;
        const float l = warp_tree_sum(p_low + p_high);
        if (sv) {
            attn_planes(s, row, sv, p_low, p_high);
        } else {
            p[lane] = p_low;
            p[WARP_LANES + lane] = p_high;
        }
        if (lane == 0) attn_fold_row(&s.row[row], m, l, step);
    }
}

} /* namespace TERN_GPU */
#endif
