/* norm_quant_ref.c - NORM_QUANT (N4): a row of floats becomes 8-bit integers, a scale and a sum. */
#include "cpu/ref/ref.h"

/* Quantises row t; returns non-zero, with the row's outputs zeroed, when ss is not finite. */
static int quant_row(const tern_norm_quant_args *a, int t)
{
    const float *x = a->x + t * a->ldx;
    const float *g = a->gain;
    int8_t *q = a->q + (size_t)t * (size_t)a->k_pad;
    memset(q, 0, (size_t)a->k_pad);
    a->scale[t] = 0.0f;
    a->sum[t] = 0;

    /* x - 0 is x to the bit, so that one loop serves rows with and without mean subtraction. */
    const float mean = a->subtract_mean ? tern_row_sum(x, a->k) / (float)a->k : 0.0f;
    const float ss = tern_row_sum_squares(x, mean, a->k);
    if (!tern_is_finite(ss)) return 1;

    float absmax = 0.0f;
    for (int i = 0; i < a->k; i++) {
        const float y = g ? (x[i] - mean) * g[i] : x[i] - mean;
        absmax = tern_max(absmax, fabsf(y));
    }
    const float r = g ? tern_inverse_rms(ss, a->k, a->eps) : 1.0f;
    const float range = tern_quant_range(absmax, r);
    const float factor = (127.0f / range) * r;
    int32_t sum = 0;
    for (int i = 0; i < a->k; i++) {
        const float y = g ? (x[i] - mean) * g[i] : x[i] - mean;
        q[i] = (int8_t)tern_round_clamp(y * factor, 127.0f);
        sum += q[i];
    }
    a->scale[t] = range / 127.0f;
    a->sum[t] = sum;
    return 0;
}

int tern_norm_quant_ref(const tern_norm_quant_args *a, tern_range tokens)
{
    int failed = 0;
    for (int t = tokens.begin; t < tokens.end; t++) failed |= quant_row(a, t);
    return failed;
}
