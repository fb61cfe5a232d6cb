/* rope.c - rotary position tables from our own double routines alone. */
#include "model/rope.h"

#include "base/exact.h"

void tern_rope_table(float *table, int first, int n, int hd, float base, const float *divisor)
{
    const int half = hd / 2;
    const double ln_base = tern_log_f64((double)base);
    for (int j = 0; j < half; j++) {
        double frequency = tern_exp_f64(-2.0 * j / hd * ln_base);
        if (divisor) frequency /= (double)divisor[j];
        for (int i = 0; i < n; i++) {
            double sine, cosine;
            tern_sincos_f64(&sine, &cosine, (first + i) * frequency);
            table[(long)i * hd + j] = (float)cosine;
            table[(long)i * hd + half + j] = (float)sine;
        }
    }
}
