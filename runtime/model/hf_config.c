/* hf_config.c - config.json (FORMATS 10.3, 10.4, 11) to the keys of a GGUF header. What the forward
 * pass here cannot compute is refused; ranges are checked where the keys are read (config.c). */
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "model/hf.h"

/* A config.json under its reading. */
typedef struct reader {
    const json_t *json;
    const char *name;
    tern_error *err;
} reader;

/* Classes of models and what they are called in GGUF. */
static const struct {
    const char *class, *arch, *act;
    int sub_norms;
} classes[] = {
    {"BitNetForCausalLM", "bitnet-b1.58", "relu2", 1}, /* of Microsoft */
    {"BitnetForCausalLM", "bitnet", "silu", 1},        /* of 1bitLLM */
    {"LlamaForCausalLM", "llama", "silu", 0},
};

static int refuse(const reader *r, const char *what)
{
    return tern_fail(r->err, TERN_E_MODEL, "'%.140s': %s: use another model", r->name, what);
}

static int read_class(tern_hf_config *c, const reader *r)
{
    const char *class =
        json_string_value(json_array_get(json_object_get(r->json, "architectures"), 0));
    const char *act;
    const int status = tern_json_text(&act, r->json, "hidden_act", r->name, r->err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; class && i < sizeof classes / sizeof classes[0]; i++) {
        if (strcmp(classes[i].class, class) != 0) continue;
        c->arch = classes[i].arch;
        c->act = act ? act : classes[i].act;
        c->sub_norms = classes[i].sub_norms;
        if (strncmp(c->act, "gelu", 4) == 0) c->act = "gelu";
        return TERN_OK;
    }
    return tern_fail(r->err, TERN_E_MODEL,
                     "'%.140s': the class is '%s': this version runs BitNetForCausalLM, "
                     "BitnetForCausalLM and LlamaForCausalLM",
                     r->name, class ? TERN_QUOTED(class, strlen(class)) : "missing");
}

static int read_shapes(tern_hf_config *c, const reader *r)
{
    const struct {
        const char *key;
        int64_t *out, fallback; /* 0: it must be there */
    } list[] = {
        {"hidden_size", &c->d, 0},
        {"intermediate_size", &c->f, 0},
        {"num_hidden_layers", &c->n_layers, 0},
        {"num_attention_heads", &c->h, 0},
        {"max_position_embeddings", &c->n_ctx, 0},
        {"vocab_size", &c->n_vocab, 0},
        {"num_key_value_heads", &c->kv, -1},
        {"head_dim", &c->hd, -1},
    };
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const int status = tern_json_int(list[i].out, r->json, list[i].key, list[i].fallback, 1,
                                         1 << 24, r->name, r->err);
        if (status != TERN_OK) return status;
        if (*list[i].out == 0)
            return tern_fail(r->err, TERN_E_MODEL, "'%.140s' lacks \"%s\": it is no complete model",
                             r->name, list[i].key);
    }
    if (c->kv < 0) c->kv = c->h;
    if (c->hd < 0) c->hd = c->d / c->h;
    return c->hd > 0 ? TERN_OK : refuse(r, "there are more heads than columns");
}

static int read_rope(tern_hf_config *c, const reader *r)
{
    const json_t *newer = tern_json_member(r->json, "rope_parameters");
    const json_t *scaling = tern_json_member(r->json, "rope_scaling");
    if (!scaling) scaling = newer;
    c->rope_factor = 1.0f;
    int status = tern_json_float(&c->rope_base, newer, "rope_theta", 10000.0f, r->name, r->err);
    if (status == TERN_OK)
        status =
            tern_json_float(&c->rope_base, r->json, "rope_theta", c->rope_base, r->name, r->err);
    const char *type = NULL, *older = NULL;
    if (status == TERN_OK) status = tern_json_text(&type, scaling, "rope_type", r->name, r->err);
    if (status == TERN_OK) status = tern_json_text(&older, scaling, "type", r->name, r->err);
    if (!type) type = older;
    if (status != TERN_OK || !type || strcmp(type, "default") == 0) return status;
    if (strcmp(type, "linear") != 0)
        return refuse(r, "its rotation is scaled in another way than 'linear'");
    return tern_json_float(&c->rope_factor, scaling, "factor", 1.0f, r->name, r->err);
}

/* How weights are stored (FORMATS 10.3). Float weights of a BitNet class, or of a model whose
 * configuration speaks of BitNet, are masters. */
static int read_quantization(tern_hf_config *c, const reader *r)
{
    const json_t *q = tern_json_member(r->json, "quantization_config");
    const char *method = NULL, *linear = NULL;
    bool norms = false;
    c->masters = c->sub_norms || q;
    if (!q) return TERN_OK;
    int status = tern_json_text(&method, q, "quant_method", r->name, r->err);
    if (status == TERN_OK) status = tern_json_text(&linear, q, "linear_class", r->name, r->err);
    if (status == TERN_OK)
        status = tern_json_bool(&norms, q, "use_rms_norm", false, r->name, r->err);
    if (status != TERN_OK) return status;
    if (!method || strcmp(method, "bitnet") != 0)
        return refuse(r, "its weights are quantised in another way than 'bitnet'");
    if (norms) return refuse(r, "it has a norm in front of every matrix (use_rms_norm)");
    if (linear && strcmp(linear, "bitlinear") != 0 && strcmp(linear, "autobitlinear") != 0)
        return refuse(r, "its linear_class is neither bitlinear nor autobitlinear");
    c->divides = !linear || strcmp(linear, "bitlinear") == 0;
    return TERN_OK;
}

/* One id or a list of them. */
static int read_ids(int64_t *ids, int n, const json_t *json, const char *key, const reader *r)
{
    const json_t *member = tern_json_member(json, key);
    for (int i = 0; i < n && member; i++) {
        const json_t *id = json_is_array(member) ? json_array_get(member, (size_t)i)
                           : i == 0              ? member
                                                 : NULL;
        if (!id) continue;
        if (!json_is_integer(id) || json_integer_value(id) < 0 ||
            json_integer_value(id) >= (json_int_t)INT32_MAX)
            return refuse(r, "the id of an end token is no whole number");
        ids[i] = (int64_t)json_integer_value(id);
    }
    return TERN_OK;
}

static int read_flags(tern_hf_config *c, const json_t *generation, const reader *r)
{
    bool tied = false, attention_bias = false, mlp_bias = false;
    int status = tern_json_bool(&tied, r->json, "tie_word_embeddings", false, r->name, r->err);
    if (status == TERN_OK)
        status = tern_json_bool(&attention_bias, r->json, "attention_bias", false, r->name, r->err);
    if (status == TERN_OK)
        status = tern_json_bool(&mlp_bias, r->json, "mlp_bias", false, r->name, r->err);
    if (status == TERN_OK)
        status = tern_json_float(&c->eps, r->json, "rms_norm_eps", 0.0f, r->name, r->err);
    if (status != TERN_OK) return status;
    if (c->eps <= 0.0f) return refuse(r, "\"rms_norm_eps\" is missing or not above 0");
    if (attention_bias || mlp_bias) return refuse(r, "its matrices have biases");
    c->tied = tied;
    c->bos = c->ends[0] = c->ends[1] = c->ends[2] = -1;
    status = read_ids(&c->bos, 1, r->json, "bos_token_id", r);
    if (status == TERN_OK) status = read_ids(c->ends, 3, r->json, "eos_token_id", r);
    if (status == TERN_OK) status = read_ids(c->ends, 3, generation, "eos_token_id", r);
    return status;
}

int tern_hf_read_config(tern_hf *hf, tern_error *err)
{
    tern_hf_config *c = &hf->config;
    char name[512];
    snprintf(name, sizeof name, "%.480s/config.json", hf->path);
    const reader r = {hf->json, name, err};
    int status = read_class(c, &r);
    if (status == TERN_OK) status = read_shapes(c, &r);
    if (status == TERN_OK) status = read_rope(c, &r);
    if (status == TERN_OK) status = read_quantization(c, &r);
    return status == TERN_OK ? read_flags(c, hf->generation, &r) : status;
}

/* The last part of the folder's path, for people. */
static void write_name(tern_hf *hf)
{
    size_t end = strlen(hf->path);
    while (end > 1 && hf->path[end - 1] == '/') end--;
    size_t begin = end;
    while (begin > 0 && hf->path[begin - 1] != '/') begin--;
    tern_gguf_put_text(&hf->header, "general.name", hf->path + begin, end - begin);
}

void tern_hf_write_keys(tern_hf *hf)
{
    const tern_hf_config *c = &hf->config;
    tern_gguf_writer *w = &hf->header;
    const struct {
        const char *key;
        int64_t value;
    } list[] = {
        {"vocab_size", c->n_vocab},      {"context_length", c->n_ctx},
        {"embedding_length", c->d},      {"block_count", c->n_layers},
        {"feed_forward_length", c->f},   {"rope.dimension_count", c->hd},
        {"attention.head_count", c->h},  {"attention.head_count_kv", c->kv},
        {"attention.key_length", c->hd}, {"attention.value_length", c->hd},
    };
    char key[96];
    tern_gguf_put_text(w, "general.architecture", c->arch, strlen(c->arch));
    write_name(hf);
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        snprintf(key, sizeof key, "%s.%s", c->arch, list[i].key);
        tern_gguf_put_u32(w, key, (uint32_t)list[i].value);
    }
    snprintf(key, sizeof key, "%s.attention.layer_norm_rms_epsilon", c->arch);
    tern_gguf_put_f32(w, key, c->eps);
    snprintf(key, sizeof key, "%s.rope.freq_base", c->arch);
    tern_gguf_put_f32(w, key, c->rope_base);
    if (c->rope_factor != 1.0f) {
        snprintf(key, sizeof key, "%s.rope.scaling.type", c->arch);
        tern_gguf_put_text(w, key, "linear", 6);
        snprintf(key, sizeof key, "%s.rope.scaling.factor", c->arch);
        tern_gguf_put_f32(w, key, c->rope_factor);
    }
    snprintf(key, sizeof key, "%s.hidden_activation", c->arch);
    tern_gguf_put_text(w, key, c->act, strlen(c->act));
    tern_gguf_put_u32(w, "general.file_type", 40); /* I2_S */
    tern_gguf_put_u32(w, "general.quantization_version", 2);
}
