/* layout.c - sizes that planner, allocator and every backend share: KV pages, the public host
 * layout of ternary weights, spans; and the names of operations. */
#include <stdio.h>

#include "base/memory.h"
#include "device/backend.h"

size_t tern_kv_page_bytes(tern_kv_type type, int kv, int hd)
{
    const size_t values = (size_t)hd * TERN_PAGE_TOK;
    const size_t head_bytes = type == TERN_KV_F16
                                  ? 2 * values * sizeof(uint16_t)
                                  : 2 * values + 2 * TERN_PAGE_TOK * sizeof(float);
    return (size_t)kv * head_bytes;
}

size_t tern_ternary_host_bytes(int rows, int k)
{
    return tern_round_up((size_t)rows, TERN_TILE_ROWS) * (size_t)tern_pad_k(k) / 4;
}

tern_span tern_span_make(tern_buffer *buffer, size_t offset_bytes, int64_t rows, int64_t cols,
                         tern_dtype type)
{
    return (tern_span){buffer, offset_bytes, rows, cols, cols, type};
}

tern_span tern_span_cols(tern_span span, int64_t col0, int64_t cols)
{
    span.offset_bytes += (size_t)col0 * tern_dtype_bytes(span.type);
    span.cols = cols;
    return span;
}

const char *tern_op_name(tern_op_kind kind)
{
    static const char *const names[TERN_N_OPS] = {
        "EMBED", "NORM_QUANT", "LINEAR", "ROPE_KV", "ATTN", "ATTN_PART", "ATTN_MERGE", "ACT_MUL",
        "NORM",  "ADD",        "POOL",   "HEAD",    "PICK", "COPY_2D",   "COPY_ROWS",
    };
    return kind >= 0 && kind < TERN_N_OPS ? names[kind] : "unknown";
}

const char *tern_op_place(char text[TERN_PLACE_BYTES], tern_op_kind kind, int layer)
{
    if (layer < 0)
        snprintf(text, TERN_PLACE_BYTES, "%s", tern_op_name(kind));
    else
        snprintf(text, TERN_PLACE_BYTES, "%s of layer %d", tern_op_name(kind), layer);
    return text;
}
