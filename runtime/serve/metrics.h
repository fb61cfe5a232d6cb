/* metrics.h - counters and histograms in the text format of Prometheus, under the names that vLLM
 * uses, which dashboards and load generators read. All under the server's lock. */
#ifndef TERN_SERVE_METRICS_H
#define TERN_SERVE_METRICS_H

#include "serve/buffer.h"
#include "tern/engine.h"

typedef enum metric {
    METRIC_FIRST_TOKEN,
    METRIC_INTER_TOKEN,
    METRIC_E2E,
    METRIC_QUEUE,
    METRIC_PREFILL,
    METRIC_DECODE,
    METRIC_PROMPT_TOK,
    METRIC_ANSWER_TOK,
    METRIC_STEP_TOK,
    N_METRICS,
} metric;

#define METRIC_BUCKETS 16

typedef struct histogram {
    uint64_t buckets[METRIC_BUCKETS + 1]; /* the last: above every bound */
    double sum;
} histogram;

typedef struct serve_metrics {
    histogram histograms[N_METRICS];
    uint64_t prompt_tok, answer_tok;
    double predicted_prompt_s, predicted_decode_s; /* of finished choices */
    uint64_t stopped, length, aborted; /* choices by how they ended */
    uint64_t refused;                  /* requests answered with an error before they began */
} serve_metrics;

void tern_metrics_add(serve_metrics *metrics, metric which, double value);

void tern_metrics_write(serve_buffer *out, const serve_metrics *metrics,
                        const tern_engine_stats *stats, const char *model);

#endif
