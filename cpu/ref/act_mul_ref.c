/* act_mul_ref.c - ACT_MUL: the gate of the FFN. */
#include "cpu/ref/ref.h"

static void relu2_row(float *y, const float *gate, const float *up, tern_range cols)
{
    for (int i = cols.begin; i < cols.end; i++) {
        const float r = tern_max(gate[i], 0.0f);
        y[i] = (r * r) * up[i];
    }
}

static void silu_row(float *y, const float *gate, const float *up, tern_range cols)
{
    for (int i = cols.begin; i < cols.end; i++) y[i] = tern_silu(gate[i]) * up[i];
}

static void gelu_tanh_row(float *y, const float *gate, const float *up, tern_range cols)
{
    for (int i = cols.begin; i < cols.end; i++) y[i] = tern_gelu_tanh(gate[i]) * up[i];
}

void tern_act_mul_ref(const tern_act_mul_args *a, tern_range tokens, tern_range cols)
{
    for (int t = tokens.begin; t < tokens.end; t++) {
        float *y = a->y + t * a->ldy;
        const float *gate = a->gate + t * a->ld_gate, *up = a->up + t * a->ld_up;
        switch (a->act) {
        case TERN_ACT_RELU2: relu2_row(y, gate, up, cols); break;
        case TERN_ACT_SILU: silu_row(y, gate, up, cols); break;
        case TERN_ACT_GELU_TANH: gelu_tanh_row(y, gate, up, cols); break;
        }
    }
}
