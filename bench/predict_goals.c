/* predict_goals.c - prints the goals of one H200 with what the kernels in the tree are predicted
 * to reach (gpu_model.c), as the Markdown table of README. Takes no arguments and needs no GPU;
 * nothing it prints was measured. */
#include <stdio.h>

#include "bench/gpu_model.h"

typedef struct goal {
    const char *quantity;
    double floor, target, stretch;
    double (*predict)(const tern_model_config *config, const struct goal *goal);
    int t, bytes;        /* tokens, and bytes of a value of the baseline */
    model_step step;     /* of goals in tokens a second */
    const char *closes;  /* what stands between it and the floor or the target */
} goal;

static double against_cublas(const tern_model_config *c, const goal *g)
{
    return model_layer_cublas_ns(c, g->t, g->bytes) / model_layer_ns(c, g->t);
}

/* Percent of the memory's rate at which a layer's weights come in a graph of its products. */
static double of_memory(const tern_model_config *c, const goal *g)
{
    (void)g;
    return 100 * model_layer_read_ns(c) / model_layer_graph_ns(c);
}

static double tera_operations(const tern_model_config *c, const goal *g)
{
    return 2.0 * g->t * model_layer_macs(c) / model_layer_ns(c, g->t) / 1e3;
}

static double tokens_a_second(const tern_model_config *c, const goal *g)
{
    return g->step.n_tok * 1e9 / model_step_ns(c, &g->step);
}

/* What the model finds in the way. */
#define ALONE "the first bytes of each of four kernels take 0.9 us, and nothing hides them"
#define CHAINED "1.3 us between kernels, then 64 instructions a block: fewer, one kernel"
#define TALLER "tiles of 64 rows bring 8 tokens each from L2, four waits for memory: taller tiles"
#define COPIES "a stage is 190 instructions a warp beside 64 clocks of wgmma: longer copies"
#define SHARE "tiles ask L2 for 48 bytes a clock of its 24: tokens sent to a cluster at once"
#define WAVES "20 to 108 tiles on 132 SMs; sums of a split come at 14 bytes a clock: smaller sums"
#define WAVE "the last wave is half empty, the y of the last tile unhidden: smaller tiles there"
#define LAUNCHES "five gaps of 1.3 us a layer, and the chains behind them: one kernel for the step"

#define ATTENTION_DECODE "attention takes 1160 instructions a head and block: tensor cores for it; "
#define ATTENTION_I8 "exponentials are most of attention's 305 instructions a head and block; "
#define ATTENTION_F16 "attention takes 1350 instructions a head and block for 512 of products; "

static const goal goals[] = {
    {"M=1 vs cuBLAS fp16, x", 3.5, 4.5, 6, against_cublas, 1, 2, {0}, ALONE},
    {"M=1 in a graph, % of HBM read", 50, 65, 80, of_memory, 1, 0, {0}, CHAINED},
    {"M=8 vs cuBLAS fp16, x", 3.5, 4.5, 5.5, against_cublas, 8, 2, {0}, TALLER},
    {"M=16 vs cuBLAS fp16, x", 3, 4, 5, against_cublas, 16, 2, {0}, COPIES},
    {"M=64 vs cuBLAS fp16, x", 2.2, 2.8, 3.3, against_cublas, 64, 2, {0}, SHARE},
    {"M=64 vs cuBLASLt int8, x", 1.8, 2.5, 3, against_cublas, 64, 1, {0}, SHARE},
    {"M=256 vs cuBLAS fp16, x", 1.6, 1.8, 2, against_cublas, 256, 2, {0}, WAVES},
    {"M=256 vs cuBLASLt int8, x", 1.2, 1.5, 1.8, against_cublas, 256, 1, {0}, WAVES},
    {"M=2048 vs cuBLAS fp16, x", 1.4, 1.7, 1.85, against_cublas, 2048, 2, {0}, WAVE},
    {"M=2048 vs cuBLASLt int8, x", 0.9, 1, 1.1, against_cublas, 2048, 1, {0}, WAVE},
    {"int8 TOPS at 4096 tokens", 900, 1200, 1400, tera_operations, 4096, 0, {0}, WAVE},
    {"single stream, full i16 head, tok/s", 1300, 2000, 2600, tokens_a_second, 0, 0,
     {1, 1, 128, 1, 2, TERN_KV_F16}, LAUNCHES},
    {"single stream, screened head, tok/s", 1600, 2400, 3200, tokens_a_second, 0, 0,
     {1, 1, 128, 1, 1, TERN_KV_F16}, LAUNCHES},
    {"batch 64, context 512, f16 KV, i16 head, tok/s", 25e3, 40e3, 55e3, tokens_a_second, 0, 0,
     {64, 64, 512, 64, 2, TERN_KV_F16}, "11 kernels a layer: fusion for few tokens; " SHARE},
    {"batch 256, context 512, int8 KV, i8 head, tok/s", 50e3, 80e3, 105e3, tokens_a_second, 0, 0,
     {256, 256, 512, 256, 1, TERN_KV_I8}, ATTENTION_DECODE WAVES},
    {"prefill, 2 k chunks, int8 KV, i16 head, tok/s", 120e3, 180e3, 240e3, tokens_a_second, 0, 0,
     {2048, 1, 0, 1, 1, TERN_KV_I8}, ATTENTION_I8 WAVE},
    {"prefill, 2 k chunks, f16 KV, i16 head, tok/s", 60e3, 75e3, 90e3, tokens_a_second, 0, 0,
     {2048, 1, 0, 1, 1, TERN_KV_F16}, ATTENTION_F16 WAVE},
};

static const char *reached(const goal *g, double value)
{
    if (value >= g->stretch) return "stretch";
    if (value >= g->target) return "target";
    return value >= g->floor ? "floor" : "**misses the floor**";
}

static void print_goal(const tern_model_config *config, const goal *g)
{
    const double value = g->predict(config, g);
    const int digits = g->floor < 10 ? 2 : 0;
    printf("| %s | %.*f | %g | %g | %g | %s | %s |\n", g->quantity, digits, value, g->floor,
           g->target, g->stretch, reached(g, value), value < g->stretch ? g->closes : "");
}

int main(void)
{
    tern_error err;
    tern_model *model;
    if (tern_model_preset(&model, "2b4t", 1, &err) != TERN_OK) {
        fprintf(stderr, "predict_goals: %s\n", err.text);
        return err.status;
    }
    printf("| 2B4T on one H200 | *predicted* | floor | target | stretch | reaches | "
           "what the next goal needs |\n|---|--:|--:|--:|--:|---|---|\n");
    for (size_t i = 0; i < sizeof goals / sizeof goals[0]; i++)
        print_goal(tern_model_config_of(model), &goals[i]);
    tern_model_close(model);
    return 0;
}
