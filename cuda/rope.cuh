/* rope.cuh - the rotation of a head and its way into a page (N6), by a warp: what ROPE_KV and the
 * attention that does it by itself share.
 *
 * A lane holds the components lane + 32*i, i < 4, of the lower half of the head and their partners
 * in the upper half, which is all that the rotation needs; sums and maxima go by shuffles. */
#ifndef TERN_CUDA_ROPE_CUH
#define TERN_CUDA_ROPE_CUH

#include "cuda/kernels.cuh"
#include "cuda/warp.cuh"

namespace TERN_GPU {

#define HALF_REGS (TERN_MAX_HD / 2 / WARP_LANES)

/* Components lane + 32*i of both halves of a head. */
struct head_regs {
    float low[HALF_REGS], high[HALF_REGS];
};

static __device__ inline head_regs load_head(const float *x, int half)
{
    head_regs u;
    for (int i = 0; i < HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        u.low[i] = j < half ? x[j] : 0.0f;
        u.high[i] = j < half ? x[half + j] : 0.0f;
    }
    return u;
}

/* `row` holds hd/2 cosines, then hd/2 sines. */
static __device__ inline void rotate_head(head_regs *u, const float *row, int half)
{
    for (int i = 0; i < HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        if (j >= half) continue;
        const float c = row[j], s = row[half + j], x0 = u->low[i], x1 = u->high[i];
        u->low[i] = x0 * c - x1 * s;
        u->high[i] = x0 * s + x1 * c;
    }
}

/* Where a head's component i of position `slot` stands in its plane of a page, in elements. */
static __device__ inline int kv_place(tern_kv_type type, bool is_v, int hd, int i, int slot)
{
    if (type == TERN_KV_F16) return is_v ? slot * hd + i : i * TERN_PAGE_TOK + slot;
    return is_v ? (slot / 4 * hd + i) * 4 + slot % 4 : (i / 4 * TERN_PAGE_TOK + slot) * 4 + i % 4;
}

static __device__ inline void store_f16(uint8_t *page, bool is_v, const head_regs &u, int hd,
                                        int slot)
{
    const int half = hd / 2;
    uint16_t *plane = (uint16_t *)(void *)page + (is_v ? TERN_PAGE_TOK * hd : 0);
    for (int i = 0; i < HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        if (j >= half) continue;
        plane[kv_place(TERN_KV_F16, is_v, hd, j, slot)] = tern_f16_from_f32(u.low[i]);
        plane[kv_place(TERN_KV_F16, is_v, hd, half + j, slot)] = tern_f16_from_f32(u.high[i]);
    }
}

/* Plain quantisation of N4; its scale goes to sk or sv. */
static __device__ inline void store_i8(uint8_t *page, bool is_v, const head_regs &u, int hd,
                                       int slot)
{
    const int half = hd / 2;
    int8_t *plane = (int8_t *)page + (is_v ? TERN_PAGE_TOK * hd : 0);
    float *scales = (float *)(void *)(page + 2 * TERN_PAGE_TOK * hd) + (is_v ? TERN_PAGE_TOK : 0);
    float largest = 0.0f; /* registers beyond the head hold zeros */
    for (int i = 0; i < HALF_REGS; i++)
        largest = max_of(largest, max_of(fabsf(u.low[i]), fabsf(u.high[i])));
    const float range = quant_range(warp_max(largest), 1.0f), factor = 127.0f / range;
    for (int i = 0; i < HALF_REGS; i++) {
        const int j = warp_lane() + WARP_LANES * i;
        if (j >= half) continue;
        const int low = round_clamp(u.low[i] * factor, 127.0f);
        const int high = round_clamp(u.high[i] * factor, 127.0f);
        plane[kv_place(TERN_KV_I8, is_v, hd, j, slot)] = (int8_t)low;
        plane[kv_place(TERN_KV_I8, is_v, hd, half + j, slot)] = (int8_t)high;
    }
    if (warp_lane() == 0) scales[slot] = range / 127.0f;
}

static __device__ inline void store_kv(const kv_view &view, int token, int kv_head, bool is_v,
                                       const head_regs &u)
{
    const int pos = view.pos[token];
    const int32_t *table = view.table + (size_t)view.seq[token] * (size_t)view.table_ld;
    uint8_t *page = view.pages + (size_t)table[pos / TERN_PAGE_TOK] * view.page_bytes +
                    (size_t)kv_head * (view.page_bytes / (size_t)view.kv);
    if (view.type == TERN_KV_F16)
        store_f16(page, is_v, u, view.hd, pos % TERN_PAGE_TOK);
    else
        store_i8(page, is_v, u, view.hd, pos % TERN_PAGE_TOK);
}

} /* namespace TERN_GPU */
#endif
