/* gemm_main.cu - tern-bench-gemm, which `tern bench --gemm` becomes: W1.58A8 beside cuBLASLt over
 * the products of models. A program of its own, because cuBLAS is linked by the comparison alone:
 * neither libtern nor tern may need it. tern hands it checked options, in this order:
 *
 *   tern-bench-gemm DEVICE PRESETS TOKENS SAMPLES markdown|csv|json
 *
 * Compiled for the emulator it is tern-bench-gemm-emu, which has no baseline and prints no time. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "bench/gemm_rig.cuh"
#include "tern/model.h"

#ifndef TERN_COMMIT
#define TERN_COMMIT ""
#endif

using namespace TERN_GPU;

#define MAX_PRESETS 16
#define MAX_TOKENS 16
#define MOST_TOKENS 65536

#ifdef TERN_EMU
static const int emulated = 1;
#else
static const int emulated = 0;
#endif

/* What is compared, and what was found. */
struct comparison {
    tern_device *device;
    int tokens[MAX_TOKENS], n_tokens, n_samples;
    gemm_case *cases;
    int n_cases, n_wrong;
};

static const char *const matrix_names[TERN_N_LAYER_MATRICES] = {"qkv", "attn_out", "gate_up",
                                                                "down"};

static int failed(cudaError_t error, const comparison *all, const char *what, tern_error *err)
{
    return gpu_status(error, tern_device_describe(all->device)->name, what, err);
}

#ifndef TERN_EMU
/* Both baselines; one that cuBLASLt has no kernel for is absent. */
static cudaError_t check_baselines(gemm_case *c, gemm_rig *rig)
{
    for (int s = GEMM_FP16; s < GEMM_N_SIDES; s++) {
        cudaError_t error = gemm_baseline_prepare(rig, (gemm_side)s, c->t);
        if (error == cudaErrorNotSupported) continue;
        if (error == cudaSuccess) error = gemm_verify(&c->check[s], rig, (gemm_side)s, c->t);
        if (error != cudaSuccess) return error;
    }
    return cudaSuccess;
}
#endif

static cudaError_t run_case(gemm_case *c, gemm_rig *rig, int n_samples)
{
    cudaError_t error = gemm_verify(&c->check[GEMM_TERN], rig, GEMM_TERN, c->t);
#ifndef TERN_EMU
    if (error == cudaSuccess) error = check_baselines(c, rig);
    if (error == cudaSuccess) error = gemm_time(c, rig, n_samples);
#else
    (void)n_samples;
#endif
    return error;
}

static int run_product(comparison *all, const char *preset, const tern_model_config *config,
                       int matrix, tern_error *err)
{
    const tern_weight_desc w = tern_model_matrix(config, (tern_matrix)matrix, TERN_HEAD_I16);
    int most = 1;
    for (int i = 0; i < all->n_tokens; i++)
        if (all->tokens[i] > most) most = all->tokens[i];
    gemm_rig rig = {};
    rig.device = all->device;
    rig.to = ((gpu_device *)all->device)->to;
    rig.to.stream = ((gpu_device *)all->device)->setup;
    rig.baselines = !emulated;
    cudaError_t error = enter(all->device);
    if (error == cudaSuccess) error = gemm_rig_open(&rig, w.k, w.n_out, most);
    if (error != cudaSuccess) return failed(error, all, "the operands of a product", err);
    for (int i = 0; i < all->n_tokens && error == cudaSuccess; i++) {
        gemm_case *c = &all->cases[all->n_cases++];
        snprintf(c->preset, sizeof c->preset, "%s", preset);
        snprintf(c->matrix, sizeof c->matrix, "%s", matrix_names[matrix]);
        c->t = all->tokens[i];
        c->k = w.k;
        c->n_out = w.n_out;
        error = run_case(c, &rig, all->n_samples);
        for (gemm_check check : c->check) all->n_wrong += check == GEMM_WRONG;
        fprintf(stderr, "%s %s, %d tokens\n", c->preset, c->matrix, c->t);
    }
    gemm_rig_close(&rig);
    return failed(error, all, "a product", err);
}

static int run_preset(comparison *all, const char *preset, tern_error *err)
{
    tern_model *model;
    int status = tern_model_preset(&model, preset, 1, err);
    if (status != TERN_OK) return status;
    for (int m = 0; m < TERN_N_LAYER_MATRICES && status == TERN_OK; m++)
        status = run_product(all, preset, tern_model_config_of(model), m, err);
    tern_model_close(model);
    return status;
}

static int ascending(const void *a, const void *b)
{
    return *(const int *)a - *(const int *)b;
}

static int read_tokens(comparison *all, char *list, tern_error *err)
{
    char *rest = NULL;
    for (char *word = strtok_r(list, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        char *end;
        const long t = strtol(word, &end, 10);
        if (*end || t < 1 || t > MOST_TOKENS || all->n_tokens == MAX_TOKENS)
            return tern_fail(err, TERN_E_USAGE,
                             "the numbers of tokens have '%.20s': use at most %d from 1 to %d",
                             word, MAX_TOKENS, MOST_TOKENS);
        all->tokens[all->n_tokens++] = (int)t;
    }
    qsort(all->tokens, (size_t)all->n_tokens, sizeof *all->tokens, ascending);
    return TERN_OK;
}

static int report(const comparison *all, const char *form, tern_error *err)
{
    const tern_device_info *info = tern_device_describe(all->device);
    gemm_conditions conditions = {info->hardware, info->level, TERN_COMMIT, emulated, {}};
    const int status =
        emulated ? TERN_OK : tern_device_rates(&conditions.limits, all->device, err);
    if (status != TERN_OK) return status;
    const gemm_form as = !strcmp(form, "json") ? GEMM_JSON
                         : !strcmp(form, "csv") ? GEMM_CSV : GEMM_MARKDOWN;
    gemm_report(stdout, &conditions, all->cases, all->n_cases, as);
    if (all->n_wrong)
        return tern_fail(err, TERN_E_SELF_TEST, "%s: %d results were wrong and are not timed",
                         info->name, all->n_wrong);
    return TERN_OK;
}

/* The device's known answers have been found right before anything else runs. */
static int run(char **words, tern_error *err)
{
    comparison all = {};
    int status = tern_device_open(&all.device, words[0], NULL, err);
    if (status != TERN_OK) return status;
    all.n_samples = atoi(words[3]);
    if (all.n_samples < 1 || all.n_samples > GEMM_MAX_SAMPLES) all.n_samples = 1;
    all.cases = (gemm_case *)calloc(MAX_PRESETS * TERN_N_LAYER_MATRICES * MAX_TOKENS,
                                    sizeof *all.cases);
    status = all.cases ? read_tokens(&all, words[2], err)
                       : tern_fail(err, TERN_E_FIT, "no memory for the results");
    char *rest = NULL;
    int n = 0;
    for (char *preset = strtok_r(words[1], ",", &rest); preset && status == TERN_OK;
         preset = strtok_r(NULL, ",", &rest))
        status = n++ < MAX_PRESETS
                     ? run_preset(&all, preset, err)
                     : tern_fail(err, TERN_E_USAGE, "more than %d presets", MAX_PRESETS);
    if (status == TERN_OK) status = report(&all, words[4], err);
    free(all.cases);
    tern_device_close(all.device);
    return status;
}

int main(int argc, char **argv)
{
    tern_error err;
    const int status =
        argc == 6 ? run(argv + 1, &err)
                  : tern_fail(&err, TERN_E_USAGE, "a part of `tern bench --gemm`: use that");
    if (status != TERN_OK) fprintf(stderr, "tern: %s\n", err.text);
    return status;
}
