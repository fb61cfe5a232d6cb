/* embed_ref.c - EMBED: rows of the table, back from fixed point (N7). */
#include "cpu/ref/ref.h"

void tern_embed_ref(const tern_embed_args *a, tern_range tokens)
{
    for (int t = tokens.begin; t < tokens.end; t++) {
        const size_t v = (size_t)a->ids[t];
        const int8_t *high = a->high + v * (size_t)a->k_pad;
        const int8_t *low = a->low ? a->low + v * (size_t)a->k_pad : NULL;
        float *x = a->x + t * a->ldx;
        for (int i = 0; i < a->d; i++) {
            const int value = 256 * high[i] + (low ? low[i] : 0);
            x[i] = (((float)value * a->scale[v]) * a->col[i]) * a->multiplier;
        }
    }
}
