/* model.c - opening a model: the file's tensors found, typed and measured before anything is
 * loaded. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/fail.h"
#include "base/memory.h"
#include "format/tokenizer_gguf.h"
#include "model/model_file.h"

extern const uint8_t tern_demo_begin[], tern_demo_end[];

/* Which types a tensor may have. */
typedef enum tensor_kind { KIND_TERNARY, KIND_FLOAT } tensor_kind;

static int find_tensor(const tern_gguf_tensor **out, tern_model *model, const char *name,
                       tensor_kind kind, const int shape[2], tern_error *err)
{
    if (model->preset) {
        const uint32_t type = kind == KIND_TERNARY ? TERN_GGML_I2_S : TERN_GGML_F32;
        *out = tern_preset_tensor(model, name, type, shape);
        return TERN_OK;
    }
    const char *file = model->gguf->name;
    const tern_gguf_tensor *t = tern_gguf_find_tensor(model->gguf, name);
    if (!t) return tern_fail(err, TERN_E_MODEL, "'%s' lacks the tensor %s", file, name);
    const int rows = shape[1] ? shape[1] : 1;
    if (t->ne[0] != (uint64_t)shape[0] || t->ne[1] != (uint64_t)rows || t->ne[2] != 1 ||
        t->ne[3] != 1)
        return tern_fail(err, TERN_E_MODEL,
                         "'%s': tensor %s is %llu x %llu, but the model's shapes ask for %d x %d",
                         file, name, (unsigned long long)t->ne[1], (unsigned long long)t->ne[0],
                         rows, shape[0]);
    const int fits = kind == KIND_TERNARY ? t->type == TERN_GGML_I2_S
                                          : t->type == TERN_GGML_F32 || t->type == TERN_GGML_F16;
    if (!fits)
        return tern_fail(err, TERN_E_MODEL,
                         "'%s': tensor %s at offset %zu has type %u: this version "
                         "reads %s there",
                         file, name, t->offset, t->type,
                         kind == KIND_TERNARY ? "I2_S (36)" : "F32 (0) and F16 (1)");
    *out = t;
    return TERN_OK;
}

static int find_in_layer(const tern_gguf_tensor **out, tern_model *model, int layer,
                         const char *name, const int shape[2], tern_error *err)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    return find_tensor(out, model, full, shape[1] ? KIND_TERNARY : KIND_FLOAT, shape, err);
}

static int find_layer(tern_layer_tensors *t, tern_model *model, int layer, tern_error *err)
{
    const tern_model_config *c = &model->config;
    const int q = c->h * c->hd, kv = c->kv * c->hd;
    const struct {
        const tern_gguf_tensor **out;
        const char *name;
        int shape[2]; /* columns, rows; rows 0: a vector */
        int wanted;
    } list[] = {
        {&t->attn_norm, "attn_norm", {c->d, 0}, 1},
        {&t->q, "attn_q", {c->d, q}, 1},
        {&t->k, "attn_k", {c->d, kv}, 1},
        {&t->v, "attn_v", {c->d, kv}, 1},
        {&t->attn_sub_norm, "attn_sub_norm", {q, 0}, c->sub_norms},
        {&t->attn_output, "attn_output", {q, c->d}, 1},
        {&t->ffn_norm, "ffn_norm", {c->d, 0}, 1},
        {&t->gate, "ffn_gate", {c->d, c->f}, 1},
        {&t->up, "ffn_up", {c->d, c->f}, 1},
        {&t->ffn_sub_norm, "ffn_sub_norm", {c->f, 0}, c->sub_norms},
        {&t->down, "ffn_down", {c->f, c->d}, 1},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (!list[i].wanted) continue;
        const int status =
            find_in_layer(list[i].out, model, layer, list[i].name, list[i].shape, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

int tern_model_find_tensors(tern_model *model, tern_error *err)
{
    tern_model_config *c = &model->config;
    const int table[2] = {c->d, c->n_vocab}, norm[2] = {c->d, 0};
    int status =
        find_tensor(&model->token_embd, model, "token_embd.weight", KIND_FLOAT, table, err);
    if (status == TERN_OK)
        status =
            find_tensor(&model->output_norm, model, "output_norm.weight", KIND_FLOAT, norm, err);
    if (!model->preset) c->tied = tern_gguf_find_tensor(model->gguf, "output.weight") == NULL;
    if (status == TERN_OK && !c->tied)
        status = find_tensor(&model->output, model, "output.weight", KIND_FLOAT, table, err);
    if (status == TERN_OK)
        status = tern_alloc(&model->layers, (size_t)c->n_layers, sizeof *model->layers,
                            "the layers", err);
    for (int l = 0; l < c->n_layers && status == TERN_OK; l++)
        status = find_layer(&model->layers[l], model, l, err);
    return status;
}

static int bad_canary(const tern_gguf *gguf, tern_error *err)
{
    return tern_fail(err, TERN_E_MODEL,
                     "'%s': the tern.canary keys do not fit together: make the file again",
                     gguf->name);
}

static int read_canary(tern_model *model, tern_error *err)
{
    const tern_gguf *gguf = model->gguf;
    const tern_gguf_value *ids = tern_gguf_find(gguf, "tern.canary.tokens");
    const tern_gguf_value *logprobs = tern_gguf_find(gguf, "tern.canary.logprobs");
    if (!ids && !logprobs) return TERN_OK;
    float tolerance;
    int status = tern_gguf_f32(&tolerance, gguf, "tern.canary.tolerance", 0.0f, err);
    if (status != TERN_OK) return status;
    if (!ids || !logprobs || !ids->is_array || !logprobs->is_array || ids->type != TERN_GGUF_I32 ||
        logprobs->type != TERN_GGUF_F32 || ids->count < 2 || logprobs->count != ids->count - 1 ||
        ids->count > (uint64_t)model->config.n_ctx || !(tolerance >= 0.0f))
        return bad_canary(gguf, err);
    int32_t *copy;
    float *values;
    const size_t n = (size_t)ids->count;
    status = tern_alloc(&copy, n, sizeof *copy, "the canary", err);
    if (status != TERN_OK) return status;
    model->canary.ids = copy;
    status = tern_alloc(&values, n, sizeof *values, "the canary", err);
    if (status != TERN_OK) return status;
    model->canary.logprobs = values;
    for (size_t i = 0; i < n; i++) {
        copy[i] = (int32_t)tern_gguf_u32_at(ids, i);
        if (copy[i] < 0 || copy[i] >= model->config.n_vocab) return bad_canary(gguf, err);
        if (i + 1 < n) values[i] = tern_f32_from_bits(tern_gguf_u32_at(logprobs, i));
        if (!isfinite(values[i])) return bad_canary(gguf, err);
    }
    model->canary.tolerance = tolerance;
    model->canary.n = n;
    return TERN_OK;
}

static int read_chat(tern_model *model, tern_error *err)
{
    tern_text stored;
    const int status = tern_gguf_text(&stored, model->gguf, "tokenizer.chat_template", err);
    if (status == TERN_OK)
        model->chat = tern_chat_recognise(stored.data, stored.bytes, model->config.arch,
                                          model->tokenizer);
    return status;
}

static int open_parts(tern_model *model, const char *path, tern_error *err)
{
    int status = path ? tern_gguf_open(&model->gguf, path, err)
                      : tern_gguf_parse(&model->gguf, tern_demo_begin,
                                        (size_t)(tern_demo_end - tern_demo_begin),
                                        "the embedded model", err);
    if (status == TERN_OK)
        status = tern_tokenizer_from_gguf(&model->tokenizer, model->gguf, NULL, err);
    if (status == TERN_OK)
        status = tern_config_read(&model->config, model->gguf, model->tokenizer, err);
    if (status == TERN_OK) status = read_chat(model, err);
    if (status == TERN_OK) status = tern_model_find_tensors(model, err);
    if (status == TERN_OK) status = read_canary(model, err);
    return status;
}

int tern_model_open(tern_model **out, const char *path, tern_error *err)
{
    tern_model *model;
    int status = tern_alloc(&model, 1, sizeof *model, "a model", err);
    if (status != TERN_OK) return status;
    model->values = &tern_values_file;
    status = open_parts(model, path, err);
    if (status != TERN_OK) {
        tern_model_close(model);
        return status;
    }
    *out = model;
    return TERN_OK;
}

void tern_model_close(tern_model *model)
{
    if (!model) return;
    free((void *)(uintptr_t)model->canary.ids);
    free((void *)(uintptr_t)model->canary.logprobs);
    free(model->layers);
    free(model->preset_names);
    tern_tokenizer_destroy(model->tokenizer);
    tern_gguf_close(model->gguf);
    free(model);
}

const tern_model_config *tern_model_config_of(const tern_model *model)
{
    return &model->config;
}

const tern_tokenizer *tern_model_tokenizer(const tern_model *model)
{
    return model->tokenizer;
}

tern_chat_format tern_model_chat(const tern_model *model)
{
    return model->chat;
}

uint64_t tern_model_file_bytes(const tern_model *model)
{
    return model->gguf->file.bytes;
}

uint64_t tern_model_n_params(const tern_model *model)
{
    uint64_t n = 0;
    for (size_t i = 0; i < model->gguf->n_tensors; i++) n += model->gguf->tensors[i].n_elements;
    return n;
}

tern_canary tern_model_canary(const tern_model *model)
{
    return model->canary;
}

tern_weight_desc tern_model_matrix(const tern_model_config *c, tern_matrix matrix,
                                   tern_head_type head_type)
{
    const int q = c->h * c->hd, kv = c->kv * c->hd;
    switch (matrix) {
    case TERN_MATRIX_QKV:
        return (tern_weight_desc){.use = TERN_USE_QKV, .k = c->d, .n_out = q + 2 * kv,
                                  .h = c->h, .kv = c->kv, .hd = c->hd};
    case TERN_MATRIX_ATTN_OUT: return (tern_weight_desc){.k = q, .n_out = c->d};
    case TERN_MATRIX_GATE_UP:
        return (tern_weight_desc){.use = TERN_USE_GATE_UP, .k = c->d, .n_out = 2 * c->f};
    case TERN_MATRIX_DOWN: return (tern_weight_desc){.k = c->f, .n_out = c->d};
    case TERN_MATRIX_EMBED:
    case TERN_MATRIX_HEAD: break;
    }
    return (tern_weight_desc){.use = TERN_USE_TABLE, .k = c->d, .n_out = c->n_vocab,
                              .head_type = head_type};
}
