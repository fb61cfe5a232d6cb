/* hf_folder.h - the small random model of tiny_model.h as a checkpoint folder of Hugging Face. */
#ifndef TERN_TESTS_HF_FOLDER_H
#define TERN_TESTS_HF_FOLDER_H

#include <sys/stat.h>

#include "tiny_model.h"

typedef enum hf_storage {
    HF_MULTIPLY, /* packed, autobitlinear, offline */
    HF_DIVIDE,   /* packed, bitlinear */
    HF_ONLINE,   /* bf16 weights, autobitlinear, online */
    HF_PLAIN,    /* bf16 weights, no quantization_config */
} hf_storage;

typedef struct hf_options {
    tiny_options tiny; /* its arch decides the class */
    hf_storage storage;
    int shards;        /* 1: two files and an index */
    const char *extra; /* more members of config.json, each with a comma in front */
} hf_options;

typedef struct hf_folder {
    char path[64];
} hf_folder;

static inline FILE *hf_create(const hf_folder *folder, const char *name)
{
    char path[160];
    snprintf(path, sizeof path, "%s/%s", folder->path, name);
    FILE *file = fopen(path, "wb");
    if (!file) abort();
    return file;
}

static inline void hf_write(const hf_folder *folder, const char *name, const char *text)
{
    FILE *file = hf_create(folder, name);
    fputs(text, file);
    fclose(file);
}

static inline void hf_remove(const hf_folder *folder)
{
    static const char *const names[] = {"config.json",           "tokenizer.json",
                                        "model.safetensors",     "model.safetensors.index.json",
                                        "a.safetensors",         "b.safetensors",
                                        "tokenizer_config.json", "generation_config.json",
                                        "chat_template.jinja"};
    char path[160];
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        snprintf(path, sizeof path, "%s/%s", folder->path, names[i]);
        unlink(path);
    }
    rmdir(folder->path);
}

/* blk.0.attn_q.weight -> model.layers.0.self_attn.q_proj.weight; 1bitLLM has other sub-norms. */
static inline void hf_name(char out[128], const char *name, const char *arch)
{
    static const char *const names[][2] = {{"attn_norm", "input_layernorm"},
                                           {"ffn_norm", "post_attention_layernorm"},
                                           {"attn_sub_norm", "self_attn.attn_sub_norm"},
                                           {"ffn_sub_norm", "mlp.ffn_sub_norm"},
                                           {"attn_q", "self_attn.q_proj"},
                                           {"attn_k", "self_attn.k_proj"},
                                           {"attn_v", "self_attn.v_proj"},
                                           {"attn_output", "self_attn.o_proj"},
                                           {"ffn_gate", "mlp.gate_proj"},
                                           {"ffn_up", "mlp.up_proj"},
                                           {"ffn_down", "mlp.down_proj"}};
    int layer;
    char part[32] = "";
    if (sscanf(name, "blk.%d.%31[a-z_]", &layer, part) != 2) {
        snprintf(out, 128, "%s",
                 strstr(name, "token_embd")    ? "model.embed_tokens.weight"
                 : strstr(name, "output_norm") ? "model.norm.weight"
                                               : "lm_head.weight");
        return;
    }
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strcmp(names[i][0], part) == 0)
            snprintf(out, 128, "model.layers.%d.%s.weight", layer, names[i][1]);
    if (strcmp(arch, "bitnet") == 0 && strstr(part, "sub_norm"))
        snprintf(out, 128, "model.layers.%d.%s.weight", layer,
                 part[0] == 'a' ? "self_attn.inner_attn_ln" : "mlp.ffn_layernorm");
}

/* A header and data under construction. */
typedef struct hf_shard {
    char *json;
    gguf_builder data;
} hf_shard;

static inline void hf_add(hf_shard *s, const char *name, const char *type, const char *shape,
                          const void *data, size_t bytes)
{
    const size_t used = strlen(s->json);
    snprintf(s->json + used, 60000 - used,
             "%s\"%s\":{\"dtype\":\"%s\",\"shape\":[%s],\"data_offsets\":[%zu,%zu]}",
             used > 1 ? "," : "", name, type, shape, s->data.n, s->data.n + bytes);
    put_bytes(&s->data, data, bytes);
}

/* Rows r, r + n/4, ... share a byte, low bits first (FORMATS 10.2). */
static inline void hf_add_packed(hf_shard *s, const char *name, const tiny_tensor *t, float scale)
{
    const size_t quarter = (t->n_out + 3) / 4, bytes = quarter * t->k;
    uint8_t *packed = case_alloc(bytes);
    for (size_t r = 0; r < t->n_out; r++)
        for (size_t c = 0; c < t->k; c++)
            packed[r % quarter * t->k + c] |=
                (uint8_t)(t->codes[r * t->k + c] << 2 * (r / quarter));
    char shape[48], full[160];
    snprintf(shape, sizeof shape, "%zu,%zu", quarter, (size_t)t->k);
    hf_add(s, name, "U8", shape, packed, bytes);
    snprintf(full, sizeof full, "%s_scale", name);
    hf_add(s, full, "F32", "1", &scale, 4);
    free(packed);
}

static inline void hf_add_tensor(hf_shard *s, const tiny_tensor *t, const hf_options *o)
{
    char name[128], shape[48];
    const float scale = tern_f32_from_f16(TINY_HALF);
    hf_name(name, t->name, o->tiny.arch);
    if (t->codes && o->storage <= HF_DIVIDE) {
        hf_add_packed(s, name, t, o->storage == HF_DIVIDE ? 1.0f / scale : scale);
        return;
    }
    if (t->n_out)
        snprintf(shape, sizeof shape, "%zu,%zu", (size_t)t->n_out, (size_t)t->k);
    else
        snprintf(shape, sizeof shape, "%zu", (size_t)t->k);
    if (!t->codes) {
        const int wide = t->bytes == t->k * (t->n_out ? t->n_out : 1) * 4;
        hf_add(s, name,
               wide                       ? "F32"
               : t->type == TERN_GGML_F16 ? "F16"
                                          : "BF16",
               shape, t->data, t->bytes);
        return;
    }
    const size_t n = t->k * t->n_out;
    uint16_t *half = case_alloc(2 * n);
    for (size_t i = 0; i < n; i++)
        half[i] = (uint16_t)(tern_f32_bits((float)(t->codes[i] - 1) * scale) >> 16);
    hf_add(s, name, "BF16", shape, half, 2 * n);
    free(half);
}

static inline void hf_finish(hf_shard *s, const hf_folder *folder, const char *name)
{
    strcat(s->json, "}");
    const uint64_t bytes = strlen(s->json);
    FILE *file = hf_create(folder, name);
    fwrite(&bytes, 8, 1, file);
    fwrite(s->json, 1, bytes, file);
    if (s->data.n) fwrite(s->data.bytes, 1, s->data.n, file);
    fclose(file);
    free(s->json);
    free(s->data.bytes);
}

static inline void hf_write_tensors(const hf_folder *folder, const hf_options *o)
{
    tiny_model m = tiny_make(&o->tiny);
    hf_shard shard[2];
    for (int i = 0; i < 2; i++) {
        shard[i] = (hf_shard){.json = case_alloc(60001)};
        strcat(shard[i].json, "{");
    }
    for (int i = 0; i < m.n; i++) hf_add_tensor(&shard[o->shards ? i % 2 : 0], &m.tensor[i], o);
    if (o->shards) {
        FILE *file = hf_create(folder, "model.safetensors.index.json");
        fprintf(file, "{\"weight_map\":{");
        for (int i = 0; i < m.n; i++) {
            char name[128];
            hf_name(name, m.tensor[i].name, o->tiny.arch);
            fprintf(file, "%s\"%s\":\"%c.safetensors\"", i ? "," : "", name, "ab"[i % 2]);
        }
        fprintf(file, "}}");
        fclose(file);
    }
    hf_finish(&shard[0], folder, o->shards ? "a.safetensors" : "model.safetensors");
    hf_finish(&shard[1], folder, "b.safetensors");
    tiny_free(&m);
}

static inline void hf_write_config(const hf_folder *folder, const hf_options *o)
{
    static const char *const quantization[] = {
        ",\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\","
        "\"quantization_mode\":\"offline\"}",
        ",\"quantization_config\":{\"quant_method\":\"bitnet\"}",
        ",\"quantization_config\":{\"quant_method\":\"bitnet\",\"linear_class\":\"autobitlinear\","
        "\"quantization_mode\":\"online\"}",
        ""};
    const char *arch = o->tiny.arch;
    FILE *file = hf_create(folder, "config.json");
    fprintf(file,
            "{\"architectures\":[\"%s\"],\"hidden_size\":%d,\"intermediate_size\":%d,"
            "\"num_hidden_layers\":%d,\"num_attention_heads\":%d,\"num_key_value_heads\":%d,"
            "\"max_position_embeddings\":128,\"vocab_size\":%d,\"rms_norm_eps\":1e-5,"
            "\"rope_theta\":10000.0,\"tie_word_embeddings\":%s,\"eos_token_id\":[267]%s%s}",
            strcmp(arch, "llama") == 0    ? "LlamaForCausalLM"
            : strcmp(arch, "bitnet") == 0 ? "BitnetForCausalLM"
                                          : "BitNetForCausalLM",
            TINY_D, (int)tiny_f(&o->tiny), TINY_LAYERS, TINY_H, TINY_KV, N_TINY,
            o->tiny.untied ? "false" : "true", quantization[o->storage], o->extra ? o->extra : "");
    fclose(file);
}

/* A string of bytes, in the alphabet of GPT-2, inside JSON quotes. */
static inline void hf_put_letters(FILE *file, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        char letter[2];
        const size_t bytes = put_letter(letter, (uint8_t)text[i]);
        if (text[i] == '"' || text[i] == '\\') fputc('\\', file);
        fwrite(letter, 1, bytes, file);
    }
}

/* The vocabulary of vocabulary.h. */
static inline void hf_write_tokenizer(const hf_folder *folder)
{
    FILE *file = hf_create(folder, "tokenizer.json");
    fprintf(file, "{\"added_tokens\":[");
    for (int i = 256, n = 0; i < N_TINY; i++)
        if (tiny_tokens[i - 256].type >= 2 && tiny_tokens[i - 256].type <= 4)
            fprintf(file, "%s{\"id\":%d,\"content\":\"%s\",\"special\":%s}", n++ ? "," : "", i,
                    tiny_tokens[i - 256].text, tiny_tokens[i - 256].type == 4 ? "false" : "true");
    fprintf(file, "],\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false},"
                  "\"model\":{\"type\":\"BPE\",\"vocab\":{");
    for (int i = 0; i < 256; i++) {
        fprintf(file, "%s\"", i ? "," : "");
        hf_put_letters(file, &(char){(char)(uint8_t)i}, 1);
        fprintf(file, "\":%d", i);
    }
    for (int i = 256; i < N_TINY; i++) {
        if (tiny_tokens[i - 256].type != 1) continue;
        fprintf(file, ",\"");
        hf_put_letters(file, tiny_tokens[i - 256].text, strlen(tiny_tokens[i - 256].text));
        fprintf(file, "\":%d", i);
    }
    fprintf(file, "},\"merges\":[");
    for (size_t i = 0; i < N_TINY_MERGES; i++) {
        const char *merge = tiny_merges[i], *space = strchr(merge + 1, ' ');
        const size_t left = space ? (size_t)(space - merge) : 1; /* " a": a space, then a letter */
        const char *right = space ? space + 1 : merge + 1;
        fprintf(file, i ? ",[\"" : "[\"");
        hf_put_letters(file, merge, left);
        fprintf(file, "\",\"");
        hf_put_letters(file, right, strlen(right));
        fprintf(file, "\"]");
    }
    fprintf(file, "]}}");
    fclose(file);
}

static inline hf_folder hf_make(const hf_options *options)
{
    hf_options o = *options;
    hf_folder folder = {.path = "/tmp/tern-hf-XXXXXX"};
    if (!o.tiny.arch) o.tiny.arch = "bitnet-b1.58";
    if (!mkdtemp(folder.path)) abort();
    hf_write_tensors(&folder, &o);
    hf_write_config(&folder, &o);
    hf_write_tokenizer(&folder);
    return folder;
}

#endif
