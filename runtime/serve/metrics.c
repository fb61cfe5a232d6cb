/* metrics.c - histograms and their text form. */
#include "serve/metrics.h"

#include <stdio.h>

/* Upper bounds in seconds or tokens, ascending; 0 ends a shorter list. */
static const struct {
    const char *name, *help;
    double bounds[METRIC_BUCKETS];
} table[N_METRICS] = {
    [METRIC_FIRST_TOKEN] = {"time_to_first_token_seconds",
                            "Arrival to first token.",
                            {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5, .75, 1, 2.5, 5, 10,
                             40}},
    [METRIC_INTER_TOKEN] = {"inter_token_latency_seconds",
                            "Token to token.",
                            {.001, .005, .01, .025, .05, .075, .1, .15, .2, .3, .4, .5, .75, 1, 2.5,
                             5}},
    [METRIC_E2E] = {"e2e_request_latency_seconds",
                    "Arrival to last token.",
                    {.1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 15, 20, 30, 60, 120, 480}},
    [METRIC_QUEUE] = {"request_queue_time_seconds",
                      "Arrival to admission.",
                      {.001, .01, .1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 20, 30, 60, 120}},
    [METRIC_PREFILL] = {"request_prefill_time_seconds",
                        "Admission to first token.",
                        {.001, .01, .1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 20, 30, 60, 120}},
    [METRIC_DECODE] = {"request_decode_time_seconds",
                       "First token to last.",
                       {.001, .01, .1, .3, .5, .8, 1, 1.5, 2, 2.5, 5, 10, 20, 30, 60, 120}},
    [METRIC_PROMPT_TOK] = {"request_prompt_tokens",
                           "Tokens of a prompt.",
                           {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000,
                            50000, 100000}},
    [METRIC_ANSWER_TOK] = {"request_generation_tokens",
                           "Tokens of an answer.",
                           {1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000,
                            50000, 100000}},
    [METRIC_STEP_TOK] = {"iteration_tokens_total",
                         "Tokens of a step.",
                         {1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384}},
};

void tern_metrics_add(serve_metrics *metrics, metric which, double value)
{
    histogram *h = &metrics->histograms[which];
    int i = 0;
    while (i < METRIC_BUCKETS && table[which].bounds[i] > 0 && value > table[which].bounds[i]) i++;
    if (i < METRIC_BUCKETS && table[which].bounds[i] == 0) i = METRIC_BUCKETS;
    h->buckets[i]++;
    h->sum += value;
}

/* A label's value: backslash, quote and line end are escaped, what is too long is cut. */
static void escape(char *out, size_t room, const char *text)
{
    size_t n = 0;
    for (; *text && n + 3 <= room; text++) {
        const int special = *text == '"' || *text == '\\' || *text == '\n';
        if (special) out[n++] = '\\';
        out[n++] = *text == '\n' ? 'n' : *text;
    }
    out[n] = 0;
}

static void write_histogram(serve_buffer *out, const histogram *h, int which, const char *model)
{
    const char *name = table[which].name;
    uint64_t total = 0;
    tern_bytes_format(out, "# HELP vllm:%s %s\n# TYPE vllm:%s histogram\n", name, table[which].help,
                      name);
    for (int i = 0; i < METRIC_BUCKETS && table[which].bounds[i] > 0; i++) {
        total += h->buckets[i];
        tern_bytes_format(out, "vllm:%s_bucket{model_name=\"%s\",le=\"%g\"} %llu\n", name, model,
                          table[which].bounds[i], (unsigned long long)total);
    }
    total += h->buckets[METRIC_BUCKETS];
    tern_bytes_format(out, "vllm:%s_bucket{model_name=\"%s\",le=\"+Inf\"} %llu\n", name, model,
                      (unsigned long long)total);
    tern_bytes_format(out, "vllm:%s_sum{model_name=\"%s\"} %.9g\n", name, model, h->sum);
    tern_bytes_format(out, "vllm:%s_count{model_name=\"%s\"} %llu\n", name, model,
                      (unsigned long long)total);
}

static void write_value(serve_buffer *out, const char *type, const char *name, const char *help,
                        const char *labels, double value)
{
    if (help)
        tern_bytes_format(out, "# HELP vllm:%s %s\n# TYPE vllm:%s %s\n", name, help, name, type);
    tern_bytes_format(out, "vllm:%s{%s} %.17g\n", name, labels, value);
}

void tern_metrics_write(serve_buffer *out, const serve_metrics *m, const tern_engine_stats *s,
                        const char *model)
{
    char name[128], labels[192];
    escape(name, sizeof name, model);
    const double used = s->n_pages ? (double)(s->n_pages - s->n_pages_free) / s->n_pages : 0.0;
    const struct {
        const char *type, *name, *help;
        double value;
    } values[] = {
        {"gauge", "num_requests_running", "Requests in the batch.", s->n_running},
        {"gauge", "num_requests_waiting", "Requests in the queue.", s->n_waiting},
        {"gauge", "kv_cache_usage_perc", "KV pages that requests hold, 0 to 1.", used},
        {"counter", "prefix_cache_queries_total", "Prompt tokens looked up.",
         (double)s->prefix_query_tok},
        {"counter", "prefix_cache_hits_total", "Prompt tokens found.", (double)s->prefix_hit_tok},
        {"counter", "num_preemptions_total", "Requests that made room.", (double)s->n_preempted},
        {"counter", "prompt_tokens_total", "Tokens of prompts.", (double)m->prompt_tok},
        {"counter", "generation_tokens_total", "Tokens of answers.", (double)m->answer_tok},
    };
    snprintf(labels, sizeof labels, "model_name=\"%s\"", name);
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        write_value(out, values[i].type, values[i].name, values[i].help, labels, values[i].value);
    const char *const reasons[] = {"stop", "length", "abort", "error"};
    const uint64_t counts[] = {m->stopped, m->length, m->aborted, m->refused};
    for (int i = 0; i < 4; i++) {
        snprintf(labels, sizeof labels, "model_name=\"%s\",finished_reason=\"%s\"", name,
                 reasons[i]);
        write_value(out, "counter", "request_success_total",
                    i == 0 ? "Answers by how they ended." : NULL, labels, (double)counts[i]);
    }
    tern_bytes_format(out,
                      "# HELP tern:predicted_seconds_total What the planner foretold for finished "
                      "answers.\n# TYPE tern:predicted_seconds_total counter\n"
                      "tern:predicted_seconds_total{model_name=\"%s\",phase=\"prefill\"} %.9g\n"
                      "tern:predicted_seconds_total{model_name=\"%s\",phase=\"decode\"} %.9g\n",
                      name, m->predicted_prompt_s, name, m->predicted_decode_s);
    for (int i = 0; i < N_METRICS; i++) write_histogram(out, &m->histograms[i], i, name);
}
