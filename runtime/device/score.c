/* score.c - log-probabilities from the exact sums of HEAD SCORE (N8). */
#include "base/exact.h"
#include "tern/device.h"

double tern_score_logprob(const tern_score *score, float logit)
{
    return (double)logit - (double)score->max_logit - tern_log_f64((double)score->sum * 0x1p-40);
}
