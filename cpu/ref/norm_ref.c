/* norm_ref.c - NORM, ADD and POOL: for models with post-norms and for embedding models. */
#include "cpu/ref/ref.h"

void tern_norm_ref(const tern_norm_args *a, tern_range tokens)
{
    for (int t = tokens.begin; t < tokens.end; t++) {
        const float *x = a->x + t * a->ldx;
        float *y = a->y + t * a->ldy;
        const float r = tern_inverse_rms(tern_row_sum_squares(x, 0.0f, a->n), a->n, a->eps);
        for (int i = 0; i < a->n; i++) y[i] = (x[i] * r) * a->gain[i];
    }
}

void tern_add_ref(const tern_add_args *a, tern_range tokens)
{
    for (int t = tokens.begin; t < tokens.end; t++) {
        const float *x0 = a->a + t * a->lda, *x1 = a->b + t * a->ldb;
        float *y = a->y + t * a->ldy;
        for (int i = 0; i < a->n; i++) y[i] = x0[i] + x1[i];
    }
}

/* Mean of n rows, column by column: row i goes into partial i mod 256. */
static void mean_rows(float *y, const float *x, int64_t ldx, int n, int d)
{
    for (int c = 0; c < d; c++) {
        float part[TERN_ROW_PARTIALS] = {0};
        for (int i = 0; i < n; i++) part[i % TERN_ROW_PARTIALS] += x[i * ldx + c];
        y[c] = tern_tree_sum(part, TERN_ROW_PARTIALS) / (float)n;
    }
}

void tern_pool_ref(const tern_pool_args *a, tern_range sequences)
{
    for (int s = sequences.begin; s < sequences.end; s++) {
        int begin = 0, end;
        while (begin < a->n_tok && a->seq[begin] < s) begin++;
        for (end = begin; end < a->n_tok && a->seq[end] == s;) end++;

        float *y = a->y + s * a->ldy;
        memset(y, 0, (size_t)a->d * sizeof *y);
        if (begin == end) continue;
        if (a->pooling == TERN_POOL_MEAN)
            mean_rows(y, a->x + begin * a->ldx, a->ldx, end - begin, a->d);
        else
            memcpy(y, a->x + (end - 1) * a->ldx, (size_t)a->d * sizeof *y);

        const float ss = tern_row_sum_squares(y, 0.0f, a->d), length = sqrtf(ss);
        for (int i = 0; i < a->d; i++) y[i] = ss > 0.0f ? y[i] / length : 0.0f;
    }
}
