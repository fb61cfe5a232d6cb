/* tensor_type.c - the table of tensor types and their sizes. */
#include "format/tensor_type.h"

#define SCALE_BYTES 32 /* behind the codes of I2_S, TL1 and TL2: one f32 and padding */

static const tern_tensor_type types[] = {
    {TERN_GGML_F32, "F32", 1, 4, 0, tern_floats_f32, NULL},
    {TERN_GGML_F16, "F16", 1, 2, 0, tern_floats_f16, NULL},
    {TERN_GGML_BF16, "BF16", 1, 2, 0, tern_floats_bf16, NULL},
    {TERN_GGML_Q8_0, "Q8_0", 32, 34, 0, tern_floats_q8_0, NULL},
    {TERN_GGML_Q4_0, "Q4_0", 32, 18, 0, tern_floats_q4_0, NULL},
    {TERN_GGML_Q4_K, "Q4_K", 256, 144, 0, tern_floats_q4_k, NULL},
    {TERN_GGML_Q6_K, "Q6_K", 256, 210, 0, tern_floats_q6_k, NULL},
    {TERN_GGML_TQ1_0, "TQ1_0", 256, 54, 0, tern_floats_tq1_0, tern_codes_tq1_0},
    {TERN_GGML_TQ2_0, "TQ2_0", 256, 66, 0, tern_floats_tq2_0, tern_codes_tq2_0},
    {TERN_GGML_I2_S, "I2_S", 0, 0, 0, NULL, tern_codes_i2s},
    {TERN_GGML_TL1, "TL1", 0, 0, 0, NULL, tern_codes_tl1},
    {TERN_GGML_TL2, "TL2", 0, 0, 0, NULL, tern_codes_tl2},
    {TERN_GGML_IQ1_BN, "IQ1_BN", 64, 13, 2, NULL, tern_codes_iq1_bn},
    {TERN_GGML_IQ2_BN, "IQ2_BN", 64, 16, 4, NULL, tern_codes_iq2_bn},
};

const tern_tensor_type *tern_tensor_type_find(uint32_t number)
{
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++)
        if (types[i].number == number) return &types[i];
    return NULL;
}

const char *tern_tensor_type_names(void)
{
    return "F32 (0), F16 (1), Q4_0 (2), Q8_0 (8), Q4_K (12), Q6_K (14), BF16 (30), TQ1_0 (34), "
           "TQ2_0 (35), I2_S (36), TL1 (38), TL2 (39), IQ1_BN (134) and IQ2_BN (135)";
}

/* a * b, or the largest number. */
static uint64_t saturated(uint64_t a, uint64_t b)
{
    uint64_t product;
    return __builtin_mul_overflow(a, b, &product) ? UINT64_MAX : product;
}

bool tern_tensor_type_bytes(uint64_t *out, const tern_tensor_type *type, uint64_t k, uint64_t n_out)
{
    if (type->block) {
        if (k % type->block != 0) return false;
        const uint64_t row = saturated(k / type->block, type->block_bytes);
        *out = row > UINT64_MAX - type->row_bytes ? UINT64_MAX
                                                  : saturated(row + type->row_bytes, n_out);
        return true;
    }
    uint64_t bytes = k * n_out / 4;
    if (type->number == TERN_GGML_TL2 ? !tern_tl2_bytes(&bytes, k, n_out) : k * n_out % 4 != 0)
        return false;
    *out = bytes + SCALE_BYTES;
    return true;
}
