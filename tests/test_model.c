/* test_model.c - models that are damaged: cut off, lying about their shapes, or full of values that
 * no trainer writes. Each gives TERN_E_MODEL and a sentence that names the file, never a crash. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/text.h"
#include "cases.h"
#include "model_copy.h"
#include "tern/engine.h"

#define ARCH "bitnet-b1.58."

static int open_copy(void **state)
{
    *state = copy_open(TINY_MODEL);
    return 0;
}

static int close_copy(void **state)
{
    copy_close(*state);
    return 0;
}

/* The file is refused, by a sentence that names it and holds `word`. */
static void refused(model_copy *m, size_t n, const char *word)
{
    tern_model *model = NULL;
    tern_error err = {0};
    const int status = tern_model_open(&model, copy_write(m, n), &err);
    copy_restore(m);
    if (status != TERN_E_MODEL || err.status != TERN_E_MODEL || !strstr(err.text, m->path) ||
        !strstr(err.text, word))
        fail_msg("wanted '%s', got status %d: %s", word, status, err.text);
    assert_null(model);
}

static void test_tiny(void **state)
{
    (void)state;
    tern_model *model;
    assert_int_equal(tern_model_open(&model, TINY_MODEL, NULL), TERN_OK);
    const tern_model_config *c = tern_model_config_of(model);
    assert_string_equal(c->arch, "bitnet-b1.58");
    assert_string_equal(c->name, "bitnet-tiny");
    assert_int_equal(c->d, 128);
    assert_int_equal(c->f, 256);
    assert_int_equal(c->n_layers, 3);
    assert_int_equal(c->h, 4);
    assert_int_equal(c->kv, 2);
    assert_int_equal(c->hd, 32);
    assert_int_equal(c->n_vocab, 384);
    assert_int_equal(c->n_ctx, 256);
    assert_true(c->eps == 1e-5f && c->rope_base == 10000.0f && c->embed_multiplier == 1.0f);
    assert_int_equal(c->act, TERN_ACT_RELU2);
    assert_true(c->sub_norms && c->tied);
    assert_int_equal(tern_tokenizer_n_vocab(tern_model_tokenizer(model)), 384);
    assert_int_equal(tern_model_file_bytes(model), 228160);
    assert_int_equal(tern_model_canary(model).n, 0);
    tern_model_close(model);
    tern_model_close(NULL);
}

static void test_embedded(void **state)
{
    (void)state;
    tern_model *model;
    assert_int_equal(tern_model_open(&model, NULL, NULL), TERN_OK);
    const tern_model_config *c = tern_model_config_of(model);
    assert_string_equal(c->arch, "bitnet-b1.58");
    assert_int_equal(c->n_vocab, tern_tokenizer_n_vocab(tern_model_tokenizer(model)));
    assert_true(c->h % c->kv == 0 && c->hd % 4 == 0 && c->eps > 0.0f && c->n_ctx > 0);
    const tern_canary canary = tern_model_canary(model);
    assert_true(canary.n >= 2 && canary.n <= (size_t)c->n_ctx && canary.tolerance > 0.0f);
    for (size_t i = 0; i < canary.n; i++) assert_in_range(canary.ids[i], 0, c->n_vocab - 1);
    for (size_t i = 0; i + 1 < canary.n; i++) assert_true(canary.logprobs[i] <= 0.0f);
    tern_model_close(model);
}

static void test_no_such_file(void **state)
{
    (void)state;
    static const char *const paths[] = {"", "/tmp", "/dev/null", TERN_SOURCE_DIR "/no such file",
                                        TERN_SOURCE_DIR "/LICENSE"};
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        tern_model *model = NULL;
        tern_error err = {0};
        assert_int_equal(tern_model_open(&model, paths[i], &err), TERN_E_MODEL);
        if (!strstr(err.text, paths[i])) fail_msg("%s", err.text);
    }
}

/* Every length of the beginning, then every tensor border and its neighbours. */
static void test_truncations(void **state)
{
    model_copy *m = *state;
    size_t header = 0;
    for (size_t i = 0; i < m->gguf->n_tensors; i++) {
        const tern_text name = m->gguf->tensors[i].name;
        const size_t end = (size_t)((const uint8_t *)name.data - m->original) + name.bytes + 24;
        header = end > header ? end : header;
    }
    for (size_t n = 0; n < header; n += n < 1200 ? 1 : 7) refused(m, n, "");
    for (size_t i = 0; i < m->gguf->n_values; i++) {
        const tern_gguf_value *value = &m->gguf->values[i];
        const size_t key = (size_t)((const uint8_t *)value->key.data - m->original);
        const size_t cuts[] = {key - 8, key, key + value->key.bytes, key + value->key.bytes + 4,
                               (size_t)(value->data - m->original)};
        for (int c = 0; c < 5; c++) refused(m, cuts[c], "");
    }
    for (size_t i = 0; i < m->gguf->n_tensors; i++) {
        const tern_gguf_tensor *t = &m->gguf->tensors[i];
        refused(m, t->offset, "");
        refused(m, t->offset + 1, "");
        refused(m, t->offset + t->bytes - 1, "");
    }
}

static void test_wrong_numbers(void **state)
{
    model_copy *m = *state;
    static const struct {
        const char *key;
        uint32_t value;
        const char *word;
    } wrong[] = {
        {ARCH "attention.head_count", 0, "head_count"},
        {ARCH "attention.head_count", 5, "heads"},
        {ARCH "attention.head_count", 1, "heads"}, /* fewer than KV heads */
        {ARCH "attention.head_count", UINT32_MAX, "head_count"},
        {ARCH "attention.head_count_kv", 0, "head_count_kv"},
        {ARCH "attention.head_count_kv", 3, "heads"},
        {ARCH "attention.head_count_kv", 1, "attn_k"}, /* fits, but not the tensors */
        {ARCH "attention.key_length", 0, "key_length"},
        {ARCH "attention.key_length", 34, "key"},
        {ARCH "attention.key_length", 1 << 20, "key_length"},
        {ARCH "attention.value_length", 16, "values"},
        {ARCH "rope.dimension_count", 16, "rotation"},
        {ARCH "block_count", 0, "block_count"},
        {ARCH "block_count", 4, "blk.3."},
        {ARCH "block_count", TERN_MAX_LAYERS, "blk.3."},
        {ARCH "block_count", TERN_MAX_LAYERS + 1, "block_count"},
        {ARCH "block_count", UINT32_MAX, "block_count"},
        {ARCH "embedding_length", 0, "embedding_length"},
        {ARCH "embedding_length", 129, "token_embd"},
        {ARCH "embedding_length", UINT32_MAX, "embedding_length"},
        {ARCH "feed_forward_length", 0, "feed_forward_length"},
        {ARCH "feed_forward_length", 255, "ffn_"},
        {ARCH "context_length", 0, "context_length"},
        {ARCH "context_length", UINT32_MAX, "context_length"},
        {ARCH "vocab_size", 383, "vocab_size"},
        {ARCH "vocab_size", 385, "vocab_size"},
        {ARCH "vocab_size", UINT32_MAX, "vocab_size"},
        {"tokenizer.ggml.bos_token_id", 384, "bos"},
        {"tokenizer.ggml.eos_token_id", UINT32_MAX, "eos"},
        {"general.alignment", 0, "alignment"},
        {"general.alignment", 48, "alignment"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        copy_set_u32(m, wrong[i].key, wrong[i].value);
        refused(m, m->n, wrong[i].word);
    }
}

static void test_wrong_floats(void **state)
{
    model_copy *m = *state;
    static const char *const keys[] = {ARCH "attention.layer_norm_rms_epsilon",
                                       ARCH "rope.freq_base"};
    static const float wrong[] = {0.0f, -0.0f, -1e-5f, NAN, INFINITY, -INFINITY};
    for (int k = 0; k < 2; k++)
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            copy_set_f32(m, keys[k], wrong[i]);
            refused(m, m->n, keys[k] + sizeof ARCH - 1);
        }
    copy_set_f32(m, keys[1], 1e-30f); /* angles no double can reduce */
    refused(m, m->n, "rope.freq_base");
}

static void test_wrong_texts(void **state)
{
    model_copy *m = *state;
    static const struct {
        const char *key, *value, *word;
    } wrong[] = {
        {"general.architecture", "bitnet-b9.99", "bitnet-b9.99"},
        {"general.architecture", "llama-------", "llama"},
        {ARCH "hidden_activation", "tanh2", "tanh2"},
        {"tokenizer.ggml.model", "nope", "nope"},
        {"tokenizer.ggml.pre", "llama-xxx", "llama-xxx"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memcpy(copy_value(m, wrong[i].key) + 8, wrong[i].value, strlen(wrong[i].value));
        refused(m, m->n, wrong[i].word);
    }
}

/* A name of broken UTF-8 with an escape sequence is made fit to be shown. */
static void test_hostile_name(void **state)
{
    model_copy *m = *state;
    tern_model *model;
    memcpy(copy_value(m, "general.name") + 8, "\x1b[2J\xff\xc3\x28\xed\xa0\x80\xe2", 11);
    assert_int_equal(tern_model_open(&model, copy_write(m, m->n), NULL), TERN_OK);
    const char *name = tern_model_config_of(model)->name;
    size_t at = 0, length;
    for (; name[at]; at += length) {
        assert_int_equal(tern_utf8_look(name + at, strlen(name + at), &length), TERN_UTF8_WHOLE);
        assert_true((unsigned char)name[at] >= 0x20);
    }
    assert_true(at > 0);
    tern_model_close(model);
    copy_restore(m);
}

static void test_missing_keys(void **state)
{
    model_copy *m = *state;
    static const char *const keys[] = {
        "general.architecture", ARCH "embedding_length", ARCH "feed_forward_length",
        ARCH "block_count", ARCH "attention.head_count", ARCH "context_length",
        "tokenizer.ggml.model", "tokenizer.ggml.tokens",
    };
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        *copy_key(m, keys[i]) = 'X';
        refused(m, m->n, strncmp(keys[i], "tokenizer", 9) == 0 ? "token" : keys[i]);
    }
    /* Without a head count of its own, K and V have as many as Q; the tensors say otherwise. */
    *copy_key(m, ARCH "attention.head_count_kv") = 'X';
    refused(m, m->n, "attn_k");
}

/* A head size that follows from the others has the same limits as a written one. */
static void test_derived_head_size(void **state)
{
    model_copy *m = *state;
    *copy_key(m, ARCH "attention.key_length") = 'X';
    copy_set_u32(m, ARCH "embedding_length", 2048);
    copy_set_u32(m, ARCH "attention.value_length", 512);
    copy_set_u32(m, ARCH "rope.dimension_count", 512);
    refused(m, m->n, "512");
}

static void test_wrong_types(void **state)
{
    model_copy *m = *state;
    static const char *const keys[] = {ARCH "block_count", ARCH "attention.layer_norm_rms_epsilon",
                                       ARCH "rope.freq_base", "tokenizer.ggml.bos_token_id"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        uint8_t *value = copy_value(m, keys[i]);
        const uint32_t type = value[-4] == TERN_GGUF_F32 ? TERN_GGUF_U32 : TERN_GGUF_F32;
        memcpy(value - 4, &type, sizeof type);
        refused(m, m->n, keys[i]);
    }
}

static void test_wrong_tensors(void **state)
{
    model_copy *m = *state;
    for (size_t i = 0; i < m->gguf->n_tensors; i++) {
        const tern_text name = m->gguf->tensors[i].name;
        char word[64];
        snprintf(word, sizeof word, "%.*s", (int)name.bytes, name.data);
        *copy_at(m, name.data) = 'X';
        refused(m, m->n, word); /* missing */
        uint8_t *const n_dims = copy_at(m, name.data) + name.bytes;
        uint8_t *const first = n_dims + 4, *const type = first + 8 * m->gguf->tensors[i].n_dims;
        first[0] ^= 64; /* 128 -> 192, 0 -> 64 */
        refused(m, m->n, "");
        if (!strstr(word, "token_embd")) { /* a table may be ternary, a norm may not */
            *type = *type == TERN_GGML_I2_S ? TERN_GGML_F16 : TERN_GGML_I2_S;
            refused(m, m->n, word);
        }
        *type = 16; /* a type of other programs */
        refused(m, m->n, word);
        *n_dims = 0;
        refused(m, m->n, word);
        *n_dims = 5;
        refused(m, m->n, word);
    }
    /* 128 x 256 is as long as 256 x 128, but not the same matrix. */
    uint8_t *gate =
        copy_tensor_name(m, "blk.0.ffn_gate.weight") + strlen("blk.0.ffn_gate.weight") + 4;
    const uint64_t swapped[2] = {256, 128};
    memcpy(gate, swapped, sizeof swapped);
    refused(m, m->n, "blk.0.ffn_gate.weight");
}

/* ---- the known answer ----------------------------------------------------------------------- */

static void test_canary(void **state)
{
    (void)state;
    model_copy *m = copy_open(DEMO_MODEL);
    static const float numbers[] = {NAN, INFINITY, -INFINITY};
    uint8_t *logprobs = copy_value(m, "tern.canary.logprobs");
    uint8_t *tokens = copy_value(m, "tern.canary.tokens");
    for (int i = 0; i < 3; i++) {
        memcpy(logprobs + 4 * i, &numbers[i], 4);
        refused(m, m->n, "canary");
        copy_set_f32(m, "tern.canary.tolerance", numbers[i]);
        refused(m, m->n, "canary");
    }
    copy_set_f32(m, "tern.canary.tolerance", -1.0f);
    refused(m, m->n, "canary");
    static const int32_t ids[] = {-1, INT32_MAX, INT32_MIN};
    for (int i = 0; i < 3; i++) {
        memcpy(tokens + 4 * i, &ids[i], 4);
        refused(m, m->n, "canary");
    }
    *copy_key(m, "tern.canary.logprobs") = 'X'; /* one without the other */
    refused(m, m->n, "canary");
    uint32_t type = TERN_GGUF_F32; /* of the ids; the count follows it */
    memcpy(tokens - 12, &type, sizeof type);
    refused(m, m->n, "canary");
    type = TERN_GGUF_U32; /* of the log-probabilities */
    memcpy(logprobs - 12, &type, sizeof type);
    refused(m, m->n, "canary");
    copy_set_u32(m, ARCH "context_length", 2); /* the known answer is longer */
    refused(m, m->n, "canary");
    copy_close(m);
}

/* ---- random damage -------------------------------------------------------------------------- */

/* One byte or bit of the header at a time; whatever opens must also close. */
static void test_single_bytes(void **state)
{
    model_copy *m = *state;
    uint64_t seed = 20260101;
    const size_t header = m->gguf->tensors[0].offset;
    int opened = 0;
    for (int i = 0; i < 3000; i++) {
        uint8_t *at = m->bytes + case_next(&seed) % header;
        const uint8_t before = *at;
        const unsigned flipped = before ^ 1u << case_next(&seed) % 8;
        *at = (uint8_t)(i % 2 ? case_next(&seed) : flipped);
        tern_model *model = NULL;
        tern_error err = {0};
        const int status = tern_model_open(&model, copy_write(m, m->n), &err);
        if (status == TERN_OK) {
            opened++;
            tern_model_close(model);
        } else if (status != TERN_E_MODEL || !strstr(err.text, m->path) || model) {
            fail_msg("byte %zu, status %d: %s", (size_t)(at - m->bytes), status, err.text);
        }
        *at = before;
    }
    assert_in_range(opened, 300, 2900); /* names and texts may be anything, counts may not */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tiny), cmocka_unit_test(test_embedded),
        cmocka_unit_test(test_no_such_file), cmocka_unit_test(test_truncations),
        cmocka_unit_test(test_wrong_numbers), cmocka_unit_test(test_wrong_floats),
        cmocka_unit_test(test_wrong_texts), cmocka_unit_test(test_hostile_name),
        cmocka_unit_test(test_missing_keys), cmocka_unit_test(test_derived_head_size),
        cmocka_unit_test(test_wrong_types), cmocka_unit_test(test_wrong_tensors),
        cmocka_unit_test(test_canary), cmocka_unit_test(test_single_bytes),
    };
    return cmocka_run_group_tests(tests, open_copy, close_copy);
}
