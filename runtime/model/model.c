/* model.c - opening a model: the file's tensors found, typed and measured before anything is
 * loaded. */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/f16.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/tokenizer_gguf.h"
#include "model/hf.h"
#include "model/model_file.h"

extern const uint8_t tern_demo_begin[], tern_demo_end[];

/* The type is known, holds a tensor of this role, and has its bytes: a matrix may have any type, a
 * vector plain floats. */
static int check_type(const tern_model *model, const tern_gguf_tensor *t, tern_tensor_role role,
                      tern_error *err)
{
    const char *file = model->gguf->name, *name = TERN_QUOTED(t->name.data, t->name.bytes);
    const tern_tensor_type *type = tern_tensor_type_find(t->type);
    uint64_t bytes;
    if (!type)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': tensor %s at offset %zu has type %u: this version reads %s",
                         file, name, t->offset, t->type, tern_tensor_type_names());
    if (!tern_tensor_type_bytes(&bytes, type, t->ne[0], t->n_elements / t->ne[0]) ||
        bytes > t->bytes)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': tensor %s at offset %zu has type 39, but not the size of TL2: "
                         "MXFP4, which has this number elsewhere, is not supported",
                         file, name, t->offset);
    if (role == TERN_ROLE_VECTOR && (type->block != 1 || !type->floats))
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': tensor %s at offset %zu has type %s (%u): this version reads "
                         "F32, F16 and BF16 there",
                         file, name, t->offset, type->name, t->type);
    return TERN_OK;
}

static int find_tensor(const tern_gguf_tensor **out, tern_model *model, const char *name,
                       tern_tensor_role role, const int shape[2], tern_error *err)
{
    if (model->preset) {
        const uint32_t type = role == TERN_ROLE_TERNARY ? TERN_GGML_I2_S : TERN_GGML_F32;
        *out = tern_preset_tensor(model, name, type, shape);
        return TERN_OK;
    }
    const char *file = model->gguf->name;
    const tern_gguf_tensor *t = tern_gguf_find_tensor(model->gguf, name);
    if (!t) return tern_fail(err, TERN_E_MODEL, "'%s' lacks the tensor %s", file, name);
    model->role[t - model->gguf->tensors] = (uint8_t)role;
    const int rows = shape[1] ? shape[1] : 1;
    if (t->ne[0] != (uint64_t)shape[0] || t->ne[1] != (uint64_t)rows || t->ne[2] != 1 ||
        t->ne[3] != 1)
        return tern_fail(err, TERN_E_MODEL,
                         "'%s': tensor %s is %llu x %llu, but the model's shapes ask for %d x %d",
                         file, name, (unsigned long long)t->ne[1], (unsigned long long)t->ne[0],
                         rows, shape[0]);
    const int status = check_type(model, t, role, err);
    if (status == TERN_OK) *out = t;
    return status;
}

/* The number outside of a ternary tensor that multiplies it: `name` is that of the scale. */
static int read_factor(tern_model *model, const tern_gguf_tensor *t, const char *name,
                       tern_error *err)
{
    const tern_gguf_tensor *scale = tern_gguf_find_tensor(model->gguf, name);
    float *factor = &model->factor[t - model->gguf->tensors];
    *factor = 1.0f;
    if (!scale) return TERN_OK;
    model->role[scale - model->gguf->tensors] = TERN_ROLE_FACTOR;
    if (scale->type != TERN_GGML_F32 || scale->n_elements != 1)
        return tern_fail(err, TERN_E_MODEL,
                         "'%s': tensor %s at offset %zu has type %u and %llu elements instead of "
                         "one F32",
                         model->gguf->name, name, scale->offset, scale->type,
                         (unsigned long long)scale->n_elements);
    model->values->floats(factor, model, scale, 0);
    return TERN_OK;
}

static int find_in_layer(const tern_gguf_tensor **out, tern_model *model, int layer,
                         const char *name, const int shape[2], tern_error *err)
{
    char full[64];
    snprintf(full, sizeof full, "blk.%d.%s.weight", layer, name);
    const tern_tensor_role role = shape[1] ? TERN_ROLE_TERNARY : TERN_ROLE_VECTOR;
    const int status = find_tensor(out, model, full, role, shape, err);
    if (status != TERN_OK || role == TERN_ROLE_VECTOR || model->preset) return status;
    snprintf(full, sizeof full, "blk.%d.%s.scale", layer, name);
    return read_factor(model, *out, full, err);
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

/* A tensor that has no place in the forward pass would be left out of it silently. */
static int refuse_others(const tern_model *model, tern_error *err)
{
    for (size_t i = 0; !model->preset && i < model->gguf->n_tensors; i++) {
        const tern_gguf_tensor *t = &model->gguf->tensors[i];
        if (model->role[i] == TERN_ROLE_NONE)
            return tern_fail(err, TERN_E_MODEL,
                             "'%.140s': tensor %s at offset %zu has no place in the architecture "
                             "%s: this version cannot run the model",
                             model->gguf->name, TERN_QUOTED(t->name.data, t->name.bytes),
                             t->offset, model->config.arch);
    }
    return TERN_OK;
}

static int find_globals(tern_model *model, tern_error *err)
{
    tern_model_config *c = &model->config;
    const int table[2] = {c->d, c->n_vocab}, norm[2] = {c->d, 0}, freqs[2] = {c->hd / 2, 0};
    int status =
        find_tensor(&model->token_embd, model, "token_embd.weight", TERN_ROLE_TABLE, table, err);
    if (status == TERN_OK)
        status = find_tensor(&model->output_norm, model, "output_norm.weight", TERN_ROLE_VECTOR,
                             norm, err);
    if (!model->preset) c->tied = tern_gguf_find_tensor(model->gguf, "output.weight") == NULL;
    if (status == TERN_OK && !c->tied)
        status = find_tensor(&model->output, model, "output.weight", TERN_ROLE_TABLE, table, err);
    if (status == TERN_OK && tern_gguf_find_tensor(model->gguf, "rope_freqs.weight"))
        status = find_tensor(&model->rope_freqs, model, "rope_freqs.weight", TERN_ROLE_VECTOR,
                             freqs, err);
    return status;
}

int tern_model_find_tensors(tern_model *model, tern_error *err)
{
    const tern_model_config *c = &model->config;
    const size_t n_tensors = model->gguf->n_tensors;
    int status = tern_alloc(&model->role, n_tensors, 1, "the tensors", err);
    if (status == TERN_OK && !model->preset)
        status = tern_alloc(&model->factor, n_tensors, sizeof *model->factor, "the scales", err);
    if (status == TERN_OK) status = find_globals(model, err);
    if (status == TERN_OK)
        status = tern_alloc(&model->layers, (size_t)c->n_layers, sizeof *model->layers,
                            "the layers", err);
    for (int l = 0; l < c->n_layers && status == TERN_OK; l++)
        status = find_layer(&model->layers[l], model, l, err);
    return status == TERN_OK ? refuse_others(model, err) : status;
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

/* The options that concern tensors; the others go to where they are read. */
static int take_options(tern_model *model, const tern_model_options *options, tern_error *err)
{
    const char layout = options->i2s_layout ? options->i2s_layout : 'a';
    if (layout < 'a' || layout > 'd')
        return tern_fail(err, TERN_E_USAGE, "the I2_S layout '%c' is not known: use a, b, c or d",
                         layout);
    model->i2s_layout = (tern_i2s_layout)(layout - 'a');
    if (!options->tl_config) return TERN_OK;
    FILE *stream = fopen(options->tl_config, "re");
    if (!stream)
        return tern_fail(err, TERN_E_USAGE, "cannot open the tile configuration '%s': %s",
                         options->tl_config, strerror(errno));
    char *text = NULL;
    size_t bytes;
    int status = tern_stream_read(&text, &bytes, stream, options->tl_config, 1 << 16, err);
    fclose(stream);
    if (status == TERN_OK)
        status = tern_alloc(&model->tl_config, 1, sizeof *model->tl_config, "the tiles", err);
    if (status == TERN_OK)
        status = tern_tl_config_parse(model->tl_config, text, options->tl_config, err);
    free(text);
    return status;
}

/* A checkpoint of Hugging Face: its header is read as a file's, its values are its own. */
static int open_folder(tern_model *model, const char *path, tern_error *err)
{
    const int status = tern_hf_open(&model->hf, path, err);
    if (status != TERN_OK) return status;
    const tern_gguf_writer *header = &model->hf->header;
    model->values = &tern_values_hf;
    return tern_gguf_parse_header(&model->gguf, header->bytes, header->n,
                                  (size_t)header->data_bytes, path, err);
}

static int open_parts(tern_model *model, const char *path, const tern_model_options *options,
                      tern_error *err)
{
    int status = take_options(model, options, err);
    if (status != TERN_OK) return status;
    struct stat st;
    if (path && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        status = open_folder(model, path, err);
    else
        status = path ? tern_gguf_open(&model->gguf, path, err)
                      : tern_gguf_parse(&model->gguf, tern_demo_begin,
                                        (size_t)(tern_demo_end - tern_demo_begin),
                                        "the embedded model", err);
    if (status == TERN_OK)
        status = tern_tokenizer_from_gguf(&model->tokenizer, model->gguf, options->pretokenizer,
                                          err);
    if (status == TERN_OK) status = tern_config_read(model, options->activation, err);
    if (status == TERN_OK) status = read_chat(model, err);
    if (status == TERN_OK) status = tern_model_find_tensors(model, err);
    if (status == TERN_OK) status = read_canary(model, err);
    return status;
}

int tern_model_open(tern_model **out, const char *path, tern_error *err)
{
    return tern_model_open_with(out, path, NULL, err);
}

int tern_model_open_with(tern_model **out, const char *path, const tern_model_options *options,
                         tern_error *err)
{
    static const tern_model_options none;
    tern_model *model;
    int status = tern_alloc(&model, 1, sizeof *model, "a model", err);
    if (status != TERN_OK) return status;
    model->values = &tern_values_file;
    status = open_parts(model, path, options ? options : &none, err);
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
    free(model->tl_config);
    free(model->factor);
    free(model->role);
    free(model->preset_names);
    tern_tokenizer_destroy(model->tokenizer);
    tern_gguf_close(model->gguf);
    tern_hf_close(model->hf);
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
    return tern_gguf_bytes(model->gguf);
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
