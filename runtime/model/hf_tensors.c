/* hf_tensors.c - the tensors of a checkpoint by their names there (FORMATS 10.2, 10.4), each with
 * its shape and type checked, and described as the GGUF file of the same model has them: matrices
 * I2_S, vectors F32, tables in their own type. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/fail.h"
#include "base/memory.h"
#include "base/text.h"
#include "model/hf.h"

#define PER_LAYER 11

/* The search under way: how many tensors of the files had a place. */
typedef struct search {
    tern_hf *hf;
    size_t n_used;
    tern_error *err;
} search;

static const tern_st_tensor *find(const tern_hf *hf, const tern_safetensors **file,
                                  const char *name)
{
    for (size_t i = 0; i < hf->n_files; i++) {
        const tern_st_tensor *t = tern_safetensors_find(hf->files[i], name);
        if (!t) continue;
        *file = hf->files[i];
        return t;
    }
    return NULL;
}

static int bad(const search *s, const char *name, const char *what)
{
    return tern_fail(s->err, TERN_E_MODEL, "'%.140s': tensor %.80s %s: get the checkpoint again",
                     s->hf->path, name, what);
}

static int wrong_shape(const search *s, const char *name, const tern_st_tensor *t, uint64_t rows,
                       uint64_t cols)
{
    return tern_fail(s->err, TERN_E_MODEL,
                     "'%.140s': tensor %.80s of %d dimensions is %llu x %llu, but config.json asks "
                     "for %llu x %llu",
                     s->hf->path, name, t->n_dims, (unsigned long long)t->shape[0],
                     (unsigned long long)t->shape[1], (unsigned long long)rows,
                     (unsigned long long)cols);
}

/* The number that goes with a packed matrix, turned into a factor. */
static int read_scale(tern_hf_tensor *t, search *s, const char *name)
{
    char full[160];
    const tern_safetensors *file;
    snprintf(full, sizeof full, "%s_scale", name);
    const tern_st_tensor *st = find(s->hf, &file, full);
    if (!st) return bad(s, full, "is missing");
    s->n_used++;
    if (st->n_elements != 1 || st->type > TERN_ST_BF16) return bad(s, full, "is not one number");
    const uint8_t *at = file->file.data + st->offset;
    float value;
    if (st->type == TERN_ST_F32) tern_floats_f32(&value, at, 1);
    if (st->type == TERN_ST_F16) tern_floats_f16(&value, at, 1);
    if (st->type == TERN_ST_BF16) tern_floats_bf16(&value, at, 1);
    if (!(value > 1e-30f && value < 1e30f)) return bad(s, full, "is no scale");
    t->scale = s->hf->config.divides ? 1.0f / value : value;
    return TERN_OK;
}

static int take_matrix(tern_hf_tensor *t, search *s, const char *name, const uint64_t shape[2])
{
    const tern_st_tensor *st = t->st;
    t->packed = st->type == TERN_ST_U8;
    t->masters = s->hf->config.masters;
    const uint64_t rows = t->packed ? (shape[0] + 3) / 4 : shape[0];
    if (st->n_dims != 2 || st->shape[0] != rows || st->shape[1] != shape[1])
        return wrong_shape(s, name, st, rows, shape[1]);
    if (st->type == TERN_ST_OTHER) return bad(s, name, "has a type that no weights have");
    return t->packed ? read_scale(t, s, name) : TERN_OK;
}

static int take_floats(const tern_hf_tensor *t, const search *s, const char *name,
                       const uint64_t shape[2])
{
    const int n_dims = shape[0] ? 2 : 1;
    const uint64_t rows = shape[0] ? shape[0] : 1;
    if (t->st->n_dims != n_dims || t->st->shape[0] != rows || t->st->shape[1] != shape[1])
        return wrong_shape(s, name, t->st, rows, shape[1]);
    return t->st->type > TERN_ST_BF16 ? bad(s, name, "is not made of floats") : TERN_OK;
}

/* Type in the header: tables keep theirs, so that nothing is lost. */
static uint32_t type_of(const tern_hf_tensor *t, const uint64_t shape[2], int matrix)
{
    static const uint32_t types[] = {TERN_GGML_F32, TERN_GGML_F16, TERN_GGML_BF16};
    return matrix ? TERN_GGML_I2_S : shape[0] ? types[t->st->type] : TERN_GGML_F32;
}

/* Finds the tensor `name`, or `other` where it has two names, of shape rows (0: a vector) x
 * columns, and calls it `as` in the header. */
static int take(search *s, const char *as, const char *name, const char *other,
                const uint64_t shape[2], int matrix)
{
    tern_hf *hf = s->hf;
    tern_hf_tensor *t = &hf->tensors[hf->n_tensors++];
    t->st = find(hf, &t->file, name);
    if (!t->st && other) t->st = find(hf, &t->file, name = other);
    if (!t->st) return bad(s, name, "is missing");
    s->n_used++;
    const int status = matrix ? take_matrix(t, s, name, shape) : take_floats(t, s, name, shape);
    if (status != TERN_OK) return status;
    t->interleaved = matrix && strcmp(hf->config.arch, "llama") == 0 &&
                     (strstr(as, ".attn_q.") || strstr(as, ".attn_k."));
    if (matrix && shape[0] * shape[1] % 4 != 0)
        return bad(s, name, "has a number of weights that I2_S cannot hold");
    tern_gguf_put_tensor(&hf->header, as, strlen(as), type_of(t, shape, matrix), shape[1],
                         shape[0]);
    return TERN_OK;
}

static int take_layer(search *s, int layer)
{
    const tern_hf_config *c = &s->hf->config;
    const uint64_t d = (uint64_t)c->d, f = (uint64_t)c->f;
    const uint64_t q = (uint64_t)(c->h * c->hd), kv = (uint64_t)(c->kv * c->hd);
    const struct {
        const char *as, *name, *other;
        uint64_t shape[2];
        int wanted;
    } list[PER_LAYER] = {
        {"attn_norm", "input_layernorm", NULL, {0, d}, 1},
        {"attn_q", "self_attn.q_proj", NULL, {q, d}, 1},
        {"attn_k", "self_attn.k_proj", NULL, {kv, d}, 1},
        {"attn_v", "self_attn.v_proj", NULL, {kv, d}, 1},
        {"attn_sub_norm",
         "self_attn.attn_sub_norm",
         "self_attn.inner_attn_ln",
         {0, q},
         c->sub_norms},
        {"attn_output", "self_attn.o_proj", NULL, {d, q}, 1},
        {"ffn_norm", "post_attention_layernorm", NULL, {0, d}, 1},
        {"ffn_gate", "mlp.gate_proj", NULL, {f, d}, 1},
        {"ffn_up", "mlp.up_proj", NULL, {f, d}, 1},
        {"ffn_sub_norm", "mlp.ffn_sub_norm", "mlp.ffn_layernorm", {0, f}, c->sub_norms},
        {"ffn_down", "mlp.down_proj", NULL, {d, f}, 1},
    };
    for (int i = 0; i < PER_LAYER; i++) {
        char as[64], name[128], other[128];
        if (!list[i].wanted) continue;
        snprintf(as, sizeof as, "blk.%d.%s.weight", layer, list[i].as);
        snprintf(name, sizeof name, "model.layers.%d.%s.weight", layer, list[i].name);
        if (list[i].other)
            snprintf(other, sizeof other, "model.layers.%d.%s.weight", layer, list[i].other);
        const int status =
            take(s, as, name, list[i].other ? other : NULL, list[i].shape, list[i].shape[0] != 0);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

/* Tensors that are stored, but say nothing: rotary tables, and the head of a tied model. */
static bool is_idle(const tern_hf *hf, const char *name)
{
    const size_t n = strlen(name), m = strlen(".rotary_emb.inv_freq");
    if (n > m && strcmp(name + n - m, ".rotary_emb.inv_freq") == 0) return true;
    return hf->config.tied && strcmp(name, "lm_head.weight") == 0;
}

static size_t count_others(const tern_hf *hf)
{
    size_t n = 0;
    for (size_t i = 0; i < hf->n_files; i++)
        for (size_t j = 0; j < hf->files[i]->n_tensors; j++)
            n += !is_idle(hf, hf->files[i]->tensors[j].name);
    return n;
}

int tern_hf_find_tensors(tern_hf *hf, tern_error *err)
{
    const tern_hf_config *c = &hf->config;
    search s = {.hf = hf, .err = err};
    if (c->n_layers > TERN_MAX_LAYERS)
        return tern_fail(err, TERN_E_MODEL, "'%.140s': there are %lld layers, more than %d",
                         hf->path, (long long)c->n_layers, TERN_MAX_LAYERS);
    int status = tern_alloc(&hf->tensors, (size_t)c->n_layers * PER_LAYER + 3, sizeof *hf->tensors,
                            "the tensors of a checkpoint", err);
    const uint64_t table[2] = {(uint64_t)c->n_vocab, (uint64_t)c->d}, norm[2] = {0, table[1]};
    if (status == TERN_OK)
        status = take(&s, "token_embd.weight", "model.embed_tokens.weight", NULL, table, 0);
    for (int layer = 0; layer < c->n_layers && status == TERN_OK; layer++)
        status = take_layer(&s, layer);
    if (status == TERN_OK)
        status = take(&s, "output_norm.weight", "model.norm.weight", NULL, norm, 0);
    if (status == TERN_OK && !c->tied)
        status = take(&s, "output.weight", "lm_head.weight", NULL, table, 0);
    if (status != TERN_OK) return status;
    const size_t n = count_others(hf);
    if (n == s.n_used) return TERN_OK;
    return tern_fail(
        err, TERN_E_MODEL,
        "'%.140s' holds %zu tensors, but the class %s has a place for %zu: this version "
        "cannot run the model",
        hf->path, n, c->arch, s.n_used);
}
