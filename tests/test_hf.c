/* test_hf.c - checkpoint folders of Hugging Face: the logits are those of the GGUF file with the
 * same weights, to the bit, from the folder as from what `tern convert` makes of it; what cannot be
 * run is refused by name. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "hf_folder.h"
#include "logits.h"
#include "model/model_file.h"

static float *folder_logits(const hf_folder *folder)
{
    float *logits = case_alloc(N_LOGITS * sizeof *logits);
    tern_error err = {0};
    if (logits_at(logits, folder->path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    return logits;
}

static float *file_logits(const tiny_options *o)
{
    char path[40];
    const int fd = tiny_file(path, o);
    float *logits = case_alloc(N_LOGITS * sizeof *logits);
    tern_error err = {0};
    if (logits_at(logits, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    close(fd);
    return logits;
}

/* Folder, file, and the converted folder agree. */
static void check_equal(const hf_options *o, const tiny_options *file)
{
    const hf_folder folder = hf_make(o);
    float *a = folder_logits(&folder), *b = file_logits(file);
    assert_memory_equal(a, b, N_LOGITS * sizeof *a);
    char path[96];
    snprintf(path, sizeof path, "%s.gguf", folder.path);
    tern_model *model;
    tern_error err = {0};
    assert_int_equal(tern_model_open(&model, folder.path, &err), TERN_OK);
    if (tern_model_convert(model, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_int_equal(tern_model_convert(model, path, NULL, &err), TERN_E_USAGE); /* it exists */
    tern_model_close(model);
    if (logits_at(b, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    assert_memory_equal(a, b, N_LOGITS * sizeof *a);
    assert_int_equal(tern_model_open(&model, path, &err), TERN_OK);
    assert_true(tern_model_canary(model).n >= 2);
    tern_model_close(model);
    unlink(path);
    hf_remove(&folder);
    free(a);
    free(b);
}

static void test_storages(void **state)
{
    (void)state;
    const tiny_options file = {0};
    for (int storage = HF_MULTIPLY; storage <= HF_PLAIN; storage++) {
        const hf_options o = {.storage = (hf_storage)storage, .shards = storage % 2};
        check_equal(&o, &file);
    }
    /* Rows that share blocks of I2_S (FORMATS 4.4). */
    const tiny_options narrow = {.f = 420};
    const hf_options o = {.tiny = narrow, .storage = HF_ONLINE};
    check_equal(&o, &narrow);
}

static void test_classes(void **state)
{
    (void)state;
    const tiny_options llama = {.arch = "llama", .interleaved = 1, .untied = 1};
    const hf_options llama_folder = {.tiny = {.arch = "llama", .untied = 1}, .storage = HF_DIVIDE};
    check_equal(&llama_folder, &llama);
    const hf_options llama_floats = {.tiny = {.arch = "llama", .untied = 1}, .storage = HF_PLAIN};
    check_equal(&llama_floats, &llama);
    const tiny_options bitnet = {.arch = "bitnet", .table = TERN_GGML_F16};
    const hf_options one_bit = {.tiny = bitnet, .storage = HF_PLAIN};
    check_equal(&one_bit, &bitnet);
    const tiny_options gelu = {.activation = "gelu", .table = TERN_GGML_BF16};
    const hf_options act = {.tiny = {.table = TERN_GGML_BF16},
                            .extra = ",\"hidden_act\":\"gelu_pytorch_tanh\",\"head_dim\":64"};
    check_equal(&act, &gelu);
}

/* ---- masters --------------------------------------------------------------------------------- */

/* absmean (FORMATS 9.5), as the paper's formula stands: of random weights, of weights with ties. */
static void test_absmean(void **state)
{
    (void)state;
    const hf_options o = {.storage = HF_ONLINE};
    const hf_folder folder = hf_make(&o);
    tern_model *model;
    assert_int_equal(tern_model_open(&model, folder.path, NULL), TERN_OK);
    tern_model_close(model);
    /* Every BF16 matrix of the file becomes random. */
    char path[96];
    snprintf(path, sizeof path, "%s/model.safetensors", folder.path);
    FILE *file = fopen(path, "r+b");
    uint64_t header;
    assert_non_null(file);
    assert_int_equal(fread(&header, 8, 1, file), 1);
    char *json = case_alloc(header + 1);
    assert_int_equal(fread(json, 1, header, file), header);
    const char *name = "model.layers.1.mlp.up_proj.weight\"";
    const char *at = strstr(json, name);
    size_t begin, end;
    assert_int_equal(sscanf(strstr(at, "data_offsets"), "data_offsets\":[%zu,%zu]", &begin, &end),
                     2);
    free(json);
    enum { N = TINY_D * TINY_F };
    assert_int_equal(end - begin, 2 * N);
    uint16_t *half = case_alloc(2 * N);
    float *w = case_alloc(N * sizeof *w);
    uint64_t seed = 4;
    double sum = 0;
    for (int i = 0; i < N; i++) {
        const float x = case_float(&seed, 0.25f) * case_float(&seed, 1.0f);
        half[i] = (uint16_t)(tern_f32_bits(x) >> 16);
        w[i] = tern_f32_from_bits((uint32_t)half[i] << 16);
        sum += fabs((double)w[i]);
    }
    assert_int_equal(fseek(file, (long)(8 + header + begin), SEEK_SET), 0);
    assert_int_equal(fwrite(half, 2, N, file), N);
    fclose(file);
    const float alpha = (float)(sum / N);
    assert_int_equal(tern_model_open(&model, folder.path, NULL), TERN_OK);
    const tern_gguf_tensor *up = model->layers[1].up;
    assert_true(model->values->scale(model, up) == alpha);
    for (size_t row = 0; row < TINY_F; row++) {
        uint8_t codes[TINY_D];
        float scale = alpha;
        assert_int_equal(model->values->codes(codes, &scale, model, up, row, NULL), TERN_OK);
        assert_true(scale == alpha);
        for (size_t i = 0; i < TINY_D; i++) {
            const float t = rintf(w[row * TINY_D + i] / alpha);
            assert_int_equal(codes[i], t > 0 ? 2 : t < 0 ? 0 : 1);
        }
    }
    tern_model_close(model);
    hf_remove(&folder);
    free(half);
    free(w);
}

/* chat_template.jinja goes before the text, or the list's default, in tokenizer_config.json. */
static void test_chat_template(void **state)
{
    (void)state;
    static const char list[] = "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"x\"},"
                               "{\"name\":\"default\",\"template\":\"in config\"}]}";
    static const char *const configs[] = {
        "{}", "{\"chat_template\":\"in config\"}", list,
        "{\"chat_template\":[{\"name\":\"tool\",\"template\":\"x\"}]}"};
    for (size_t i = 0; i < 8; i++) {
        const hf_options o = {.storage = HF_MULTIPLY};
        const hf_folder folder = hf_make(&o);
        hf_write(&folder, "tokenizer_config.json", configs[i / 2]);
        if (i % 2) hf_write(&folder, "chat_template.jinja", "a file");
        tern_model *model;
        tern_error err = {0};
        if (tern_model_open(&model, folder.path, &err) != TERN_OK) fail_msg("%s", err.text);
        tern_text chat;
        assert_int_equal(tern_gguf_text(&chat, model->gguf, "tokenizer.chat_template", &err),
                         TERN_OK);
        const char *wanted = i % 2 ? "a file" : i / 2 == 0 || i / 2 == 3 ? NULL : "in config";
        if (wanted)
            assert_true(chat.data && tern_text_equals(chat, wanted));
        else
            assert_null(chat.data);
        tern_model_close(model);
        hf_remove(&folder);
    }
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(const hf_folder *folder, const char *words)
{
    tern_model *model = NULL;
    tern_error err = {0};
    const int status = tern_model_open(&model, folder->path, &err);
    if (status != TERN_E_MODEL || err.status != TERN_E_MODEL || !strstr(err.text, words))
        fail_msg("wanted '%s', got %d: %s", words, status, err.text);
    assert_null(model);
    hf_remove(folder);
}

static void test_config(void **state)
{
    (void)state;
    static const struct {
        const char *extra, *words;
    } list[] = {
        {",\"attention_bias\":true", "biases"},
        {",\"mlp_bias\":true", "biases"},
        {",\"attention_bias\":1", "\"attention_bias\" is not true or false"},
        {",\"rope_scaling\":{\"rope_type\":\"yarn\",\"factor\":4}", "rotation"},
        {",\"head_dim\":48", "tensor model.layers.0.self_attn.q_proj.weight of 2 dimensions"},
        {",\"head_dim\":0", "\"head_dim\" is 0"},
        {",\"head_dim\":\"64\"", "\"head_dim\" is not a whole number"},
        {",\"hidden_act\":\"tanh\"", "'tanh'"},
        {",\"bos_token_id\":-1", "end token"},
        {",\"bos_token_id\":999", "bos_token_id"},
        {",\"vocab_size\":5", "is no JSON"}, /* twice */
        {"", NULL},
    };
    for (int i = 0; list[i].words; i++) {
        const hf_options o = {.extra = list[i].extra};
        const hf_folder folder = hf_make(&o);
        refused(&folder, list[i].words);
    }
    const hf_options o = {0};
    static const char *const configs[][2] = {
        {"", "is no JSON"},
        {"[]", "is no JSON object"},
        {"{}", "the class is 'missing'"},
        {"{\"architectures\":[\"GPT\"]}", "the class is 'GPT'"},
        {"{\"architectures\":[\"LlamaForCausalLM\"]}", "lacks \"hidden_size\""},
    };
    for (size_t i = 0; i < sizeof configs / sizeof configs[0]; i++) {
        const hf_folder folder = hf_make(&o);
        hf_write(&folder, "config.json", configs[i][0]);
        refused(&folder, configs[i][1]);
    }
}

static void test_files(void **state)
{
    (void)state;
    const hf_options o = {0}, sharded = {.shards = 1}, untied = {.tiny = {.untied = 1}};
    hf_folder folder = hf_make(&o);
    char path[96];
    snprintf(path, sizeof path, "%s/model.safetensors", folder.path);
    assert_int_equal(truncate(path, 100000), 0);
    refused(&folder, "lies outside of the file");
    folder = hf_make(&o);
    unlink(path);
    snprintf(path, sizeof path, "%s/model.safetensors", folder.path);
    unlink(path);
    refused(&folder, "model.safetensors");
    folder = hf_make(&sharded);
    hf_write(&folder, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"../b\"}}");
    refused(&folder, "'../b', which is not in the folder");
    folder = hf_make(&sharded);
    hf_write(&folder, "model.safetensors.index.json", "{\"weight_map\":{\"a\":\"a.safetensors\"}}");
    refused(&folder, "is missing");
    folder = hf_make(&sharded);
    hf_write(&folder, "model.safetensors.index.json", "{\"weight_map\":7}");
    refused(&folder, "weight_map");
    folder = hf_make(&o); /* two layers of tensors, but one in the configuration */
    hf_write(&folder, "tokenizer.json", "{\"model\":{}}");
    refused(&folder, "neither byte-level nor");
    folder = hf_make(&untied);
    hf_options tied = untied;
    tied.tiny.untied = 0;
    tied.tiny.arch = "bitnet-b1.58";
    hf_write_config(&folder, &tied); /* a tied model may carry its table twice */
    tern_model *model;
    assert_int_equal(tern_model_open(&model, folder.path, NULL), TERN_OK);
    tern_model_close(model);
    hf_remove(&folder);
}

/* A folder of bf16 weights, of whose last matrix, ffn_down, weight `at` is overwritten: loading it
 * fails with a sentence that says `wanted`. */
static void expect_refused(const hf_options *o, size_t at, const char value[2], const char *wanted)
{
    const hf_folder folder = hf_make(o);
    char path[96];
    snprintf(path, sizeof path, "%s/model.safetensors", folder.path);
    FILE *file = fopen(path, "r+b");
    assert_non_null(file);
    const long from_end = 2 * (TINY_D * (long)tiny_f(&o->tiny) - (long)at);
    assert_int_equal(fseek(file, -from_end, SEEK_END), 0);
    assert_int_equal(fwrite(value, 1, 2, file), 2);
    fclose(file);
    float *logits = case_alloc(N_LOGITS * sizeof *logits);
    tern_error err = {0};
    assert_int_equal(logits_at(logits, folder.path, NULL, &err), TERN_E_MODEL);
    if (!strstr(err.text, wanted)) fail_msg("%s", err.text);
    free(logits);
    hf_remove(&folder);
}

/* A float model of a class that is not BitNet's is not quantised behind its owner's back. */
static void test_not_ternary(void **state)
{
    (void)state;
    const hf_options o = {.tiny = {.arch = "llama"}, .storage = HF_PLAIN};
    expect_refused(&o, TINY_D * tiny_f(&o.tiny) - 1, "\x10\x3f",
                   "model.layers.1.mlp.down_proj.weight is not ternary");
}

/* A weight that is not a number is no zero, wherever it stands. */
static void test_not_a_number(void **state)
{
    (void)state;
    const hf_options plain = {.tiny = {.arch = "llama"}, .storage = HF_PLAIN},
                     masters = {.storage = HF_ONLINE};
    for (size_t at = 0; at < 200; at += 199) {
        expect_refused(&plain, at, "\xc0\x7f", "model.layers.1.mlp.down_proj.weight is not");
        expect_refused(&masters, at, "\xc0\x7f", "blk.1.ffn_down.weight is nan");
    }
}

static int stop(void *user, const char *activity, uint64_t done, uint64_t total)
{
    (void)activity;
    return done * 100 > total * (uint64_t) * (int *)user;
}

/* What is stopped, or finds its disk full, leaves nothing behind. */
static void test_convert_cleans_up(void **state)
{
    (void)state;
    const hf_options o = {0};
    const hf_folder folder = hf_make(&o);
    tern_model *model;
    tern_error err;
    assert_int_equal(tern_model_open(&model, folder.path, NULL), TERN_OK);
    char path[96], parts[128];
    snprintf(path, sizeof path, "%s/x.gguf", folder.path);
    snprintf(parts, sizeof parts, "%s.%ld.part", path, (long)getpid());
    for (int percent = 0; percent < 100; percent += 33) {
        const tern_progress progress = {stop, &percent};
        assert_int_equal(tern_model_convert(model, path, &progress, &err), TERN_E_IO);
        assert_non_null(strstr(err.text, "was interrupted"));
        assert_int_equal(access(path, F_OK), -1);
        assert_int_equal(access(parts, F_OK), -1);
    }
    assert_int_equal(tern_model_convert(model, "/proc/nowhere/x.gguf", NULL, &err), TERN_E_IO);
    tern_model_close(model);
    hf_remove(&folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_storages),
        cmocka_unit_test(test_classes),
        cmocka_unit_test(test_absmean),
        cmocka_unit_test(test_chat_template),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_files),
        cmocka_unit_test(test_not_ternary),
        cmocka_unit_test(test_not_a_number),
        cmocka_unit_test(test_convert_cleans_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
