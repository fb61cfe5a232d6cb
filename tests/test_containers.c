/* test_containers.c - one model in every container that GGUF has for it: the logits are equal to
 * the bit, whatever the tensor type, layout, place of the scale or order of rows. And what the
 * files leave open is decided as FORMATS says: activation, head, rotation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "logits.h"

/* Of a tiny model's file. */
static int logits_of(float *logits, const tiny_options *o, const tern_model_options *options,
                     tern_error *err)
{
    char path[40];
    const int fd = tiny_file(path, o);
    const int status = logits_at(logits, path, options, err);
    close(fd);
    return status;
}

static float *logits_with(const tiny_options *o, const tern_model_options *options)
{
    float *logits = case_alloc(N_LOGITS * sizeof *logits);
    tern_error err = {0};
    if (logits_of(logits, o, options, &err) != TERN_OK) fail_msg("%s", err.text);
    return logits;
}

/* Whether two files have the same logits. */
static int same_with(const tiny_options *a, const tern_model_options *a_options,
                     const tiny_options *b, const tern_model_options *b_options)
{
    float *x = logits_with(a, a_options), *y = logits_with(b, b_options);
    const int same = memcmp(x, y, N_LOGITS * sizeof *x) == 0;
    free(x);
    free(y);
    return same;
}

static int same(const tiny_options *a, const tiny_options *b)
{
    return same_with(a, NULL, b, NULL);
}

static void refused(const tiny_options *o, const tern_model_options *options, int status,
                    const char *words)
{
    float *logits = case_alloc(N_LOGITS * sizeof *logits);
    tern_error err = {0};
    const int got = logits_of(logits, o, options, &err);
    free(logits);
    if (got != status || err.status != status || !strstr(err.text, words))
        fail_msg("wanted %d '%s', got %d: %s", status, words, got, err.text);
}

/* ---- types ----------------------------------------------------------------------------------- */

static void test_types(void **state)
{
    (void)state;
    static const uint32_t types[] = {TERN_GGML_F16,   TERN_GGML_BF16, TERN_GGML_TQ1_0,
                                     TERN_GGML_TQ2_0, TERN_GGML_I2_S, TERN_GGML_IQ1_BN,
                                     TERN_GGML_IQ2_BN};
    const tiny_options plain = {0};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        tiny_options o = {.ternary = types[i]};
        if (!same(&plain, &o)) fail_msg("type %u", types[i]);
        o.outer_scales = 1;
        if (!same(&plain, &o)) fail_msg("type %u with scales outside", types[i]);
    }
    for (int layout = 'a'; layout <= 'd'; layout++) {
        const tiny_options o = {.layout = (tern_i2s_layout)(layout - 'a')};
        const tern_model_options options = {.i2s_layout = (char)layout};
        if (!same_with(&plain, NULL, &o, &options)) fail_msg("layout %c", layout);
    }
    const tiny_options other = {.other_weights = 1};
    assert_false(same(&plain, &other));
}

static void test_tables(void **state)
{
    (void)state;
    static const uint32_t types[] = {TERN_GGML_F16, TERN_GGML_BF16};
    for (int untied = 0; untied <= 1; untied++)
        for (int i = 0; i < 2; i++) {
            const tiny_options a = {.untied = untied}, b = {.untied = untied, .table = types[i]};
            assert_true(same(&a, &b));
        }
    const tiny_options tied = {0}, untied = {.untied = 1};
    assert_false(same(&tied, &untied));
}

static void test_tl(void **state)
{
    (void)state;
    const tiny_options plain = {0};
    static const uint32_t types[] = {TERN_GGML_TL1, TERN_GGML_TL2};
    static const uint64_t shapes[][2] = {{TINY_D, TINY_H * TINY_HD},
                                         {TINY_D, TINY_KV * TINY_HD},
                                         {TINY_D, TINY_F},
                                         {TINY_F, TINY_D}};
    for (int i = 0; i < 2; i++) {
        const tiny_options o = {.ternary = types[i]};
        char path[] = "/tmp/tern-tiles-XXXXXX";
        FILE *file = fdopen(mkstemp(path), "w");
        assert_non_null(file);
        for (int s = 0; s < 4; s++) {
            const tern_tl_shape t = tiny_tiles(shapes[s][0], shapes[s][1], types[i]);
            fprintf(file, "[Kernels_%d]\nm = %d\nk = %d\nbm = %d\nbk = %d\nbmm = %d\n", s, t.n_out,
                    t.k, t.bm, t.by, t.inner);
        }
        fclose(file);
        const tern_model_options options = {.tl_config = path};
        const int equal = same_with(&plain, NULL, &o, &options);
        unlink(path);
        assert_true(equal);
        refused(&o, NULL, TERN_E_MODEL, "--tl-config");
        refused(&o, &options, TERN_E_USAGE, "cannot open");
    }
}

/* ---- architectures --------------------------------------------------------------------------- */

static void test_activations(void **state)
{
    (void)state;
    const tiny_options relu2 = {.activation = "relu2"}, silu = {.activation = "silu"};
    const tiny_options gelu = {.activation = "gelu"}, b158 = {0}, b25 = {.arch = "bitnet-25"};
    const tiny_options bitnet = {.arch = "bitnet"};
    assert_true(same(&b158, &relu2));
    assert_true(same(&b25, &relu2));
    assert_true(same(&bitnet, &silu));
    assert_false(same(&relu2, &silu));
    assert_false(same(&gelu, &silu));
    const tern_model_options as_silu = {.activation = "silu"};
    assert_true(same_with(&relu2, &as_silu, &silu, NULL));
    const tern_model_options unknown = {.activation = "swish"};
    refused(&relu2, &unknown, TERN_E_USAGE, "swish");
    const tiny_options bad = {.activation = "tanh"};
    refused(&bad, NULL, TERN_E_MODEL, "hidden_activation is 'tanh'");
}

/* Files of llama have no sub-norms, SiLU, and their rows of q and k interleaved. */
static void test_llama(void **state)
{
    (void)state;
    const tiny_options llama = {.arch = "llama", .interleaved = 1};
    const tiny_options silu = {.arch = "llama", .interleaved = 1, .activation = "silu"};
    const tiny_options straight = {.arch = "llama"}, bitnet = {.activation = "silu"};
    assert_true(same(&llama, &silu));
    assert_false(same(&llama, &straight));
    assert_false(same(&llama, &bitnet));
    const tiny_options packed = {.arch = "llama", .interleaved = 1, .ternary = TERN_GGML_TQ2_0};
    assert_true(same(&llama, &packed));
}

static void test_rotation(void **state)
{
    (void)state;
    const tiny_options none = {0}, ones = {.rope_freqs = 1}, fours = {.rope_freqs = 2};
    assert_true(same(&none, &ones));
    assert_false(same(&none, &fours));
}

static void count_warning(void *user, tern_log_level level, const char *line)
{
    if (level == TERN_LOG_WARNING && strstr(line, "--i2s-layout")) ++*(int *)user;
}

/* Opens and loads, no more. */
static void load(const tiny_options *o, const tern_model_options *options)
{
    char path[40];
    const int fd = tiny_file(path, o);
    const tern_workload workload = {.n_ctx = 64, .n_tok = 1};
    const tern_engine_options engine_options = {.device = {.n_threads = 1}};
    tern_model *model;
    tern_engine *engine;
    tern_plan plan;
    assert_int_equal(tern_model_open_with(&model, path, options, NULL), TERN_OK);
    assert_int_equal(tern_plan_layers(&plan, tern_model_config_of(model), "cpu", &workload, NULL),
                     TERN_OK);
    assert_int_equal(tern_engine_create(&engine, model, &plan, &engine_options, NULL), TERN_OK);
    tern_engine_destroy(engine);
    tern_model_close(model);
    close(fd);
}

/* FORMATS 4.5: dead channels line up under the right layout only. */
static void test_layout_warning(void **state)
{
    (void)state;
    for (int layout = 'a'; layout <= 'd'; layout++)
        for (int read = 'a'; read <= 'd'; read++) {
            const tiny_options o = {.dead = 40, .layout = (tern_i2s_layout)(layout - 'a')};
            const tern_model_options options = {.i2s_layout = (char)read};
            int n_warnings = 0;
            tern_log_set(count_warning, &n_warnings);
            load(&o, &options);
            tern_log_set(NULL, NULL);
            /* A row is in one piece in a, b and d, so its zeros are seen; c mixes four rows. */
            const int seen = layout != read && layout != 'c' && read != 'c';
            if (n_warnings != seen) fail_msg("%c read as %c: %d", layout, read, n_warnings);
        }
}

static void test_refusals(void **state)
{
    (void)state;
    const tiny_options arch = {.arch = "gpt2"};
    refused(&arch, NULL, TERN_E_MODEL, "architecture 'gpt2'");
    const tiny_options tq1 = {.ternary = TERN_GGML_TQ1_0, .uneven = 1};
    const tiny_options tq2 = {.ternary = TERN_GGML_TQ2_0, .uneven = 1};
    refused(&tq1, NULL, TERN_E_MODEL,
            "row 255 of tensor blk.0.ffn_down.weight has blocks of the scales 0.078125 and "
            "0.15625");
    refused(&tq2, NULL, TERN_E_MODEL, "scales 0.078125 and 0.15625");
    const tiny_options bias = {.extra = "blk.1.attn_q.bias"};
    refused(&bias, NULL, TERN_E_MODEL, "blk.1.attn_q.bias");
    const tiny_options norm = {.arch = "llama", .extra = "blk.0.attn_sub_norm.weight"};
    refused(&norm, NULL, TERN_E_MODEL, "has no place in the architecture llama");
    const tern_model_options layout = {.i2s_layout = 'e'};
    refused(&(tiny_options){0}, &layout, TERN_E_USAGE, "layout 'e'");
    const tern_model_options pre = {.pretokenizer = "x"};
    refused(&(tiny_options){0}, &pre, TERN_E_USAGE, "pre-tokenizer 'x'");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),
        cmocka_unit_test(test_tables),
        cmocka_unit_test(test_tl),
        cmocka_unit_test(test_activations),
        cmocka_unit_test(test_llama),
        cmocka_unit_test(test_rotation),
        cmocka_unit_test(test_layout_warning),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
