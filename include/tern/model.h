/* tern/model.h - a model file as a checked description: shapes, tokenizer, tensors. Opening reads
 * the header only; weights are read when an engine is created.
 *
 * The architecture (FORMATS 9, BitNet b1.58): per layer, with BL the ternary product on 8-bit
 * activations,
 *   h = norm(x); q, k = rope(BL(Wq, h)), rope(BL(Wk, h)); v = BL(Wv, h)
 *   x += BL(Wo, norm(attention(q, k, v), sub_norm))
 *   h = norm(x); x += BL(Wdown, norm(act(BL(Wgate, h)) * BL(Wup, h), sub_norm))
 * and logits = table . norm(x). Llama-like models have no sub-norms: their inputs to Wo and Wdown
 * are quantised as they are. A model is immutable and may be shared by threads.
 */
#ifndef TERN_MODEL_H
#define TERN_MODEL_H

#include "tern/chat.h"
#include "tern/device.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct tern_model tern_model;

#define TERN_MAX_LAYERS 512

/* Shapes and constants of a model. */
typedef struct tern_model_config {
    char arch[32];      /* general.architecture */
    char name[64];      /* general.name, or the file's */
    int d;              /* model width */
    int f;              /* FFN width */
    int n_layers;
    int h, kv, hd;      /* query heads, KV heads, head size; h is a multiple of kv, hd of 4 */
    int n_vocab;
    int n_ctx;          /* largest context the model was made for */
    float eps;          /* of every RMS norm */
    float rope_base;
    float embed_multiplier;
    tern_act act;
    int sub_norms;      /* norms before the output and down projections */
    int tied;           /* the head reads the embedding's table */
} tern_model_config;

/* What a file leaves open or says wrongly. All zero: as the file says. */
typedef struct tern_model_options {
    const char *pretokenizer; /* "llama-bpe", "falcon", ...: instead of the file's */
    const char *activation;   /* "relu2", "silu" or "gelu": instead of the file's */
    char i2s_layout;          /* 'a' to 'd': the byte order of I2_S tensors; 0: 'a' */
    const char *tl_config;    /* path of the tile shapes of TL1 and TL2 tensors */
} tern_model_options;

/* Opens a GGUF file, or a checkpoint folder of Hugging Face (config.json, tokenizer.json,
 * safetensors); path NULL: the embedded model. TERN_E_MODEL with one sentence for anything wrong,
 * TERN_E_FIT without memory. */
int tern_model_open(tern_model **out, const char *path, tern_error *err);

/* The same with options, which need not outlive the call; NULL: none. TERN_E_USAGE for a wrong
 * one. */
int tern_model_open_with(tern_model **out, const char *path, const tern_model_options *options,
                         tern_error *err);
void tern_model_close(tern_model *model);

/* Writes the model as a GGUF file in I2_S, whatever it was read from: the logits stay, to the bit.
 * A known answer is computed and stored (tern_model_canary). The file appears complete or not at
 * all; no more than one layer or one table is in memory. TERN_E_USAGE when `path` exists, TERN_E_IO
 * when it cannot be written or the progress hook says stop, TERN_E_MODEL for weights that I2_S
 * cannot hold. */
int tern_model_convert(const tern_model *model, const char *path, const tern_progress *progress,
                       tern_error *err);

/* A model of public shapes without a file: its weights are random (45 % zeros; scale, table and
 * gains as a trained model's are in size), drawn from (seed, tensor, row) while an engine loads
 * them, so they are the same everywhere and no second copy of them exists. For benchmarks and
 * tests.
 *   2b4t   BitNet b1.58 2B4T: 30 layers of 2560, f 6912, 20 heads on 5, vocabulary 128256
 *   large  bitnet_b1_58-large: 24 layers of 1536
 *   3b     bitnet_b1_58-3B: 26 layers of 3200
 *   llama3-8b, falcon3-1b, falcon3-3b, falcon3-7b, falcon3-10b: the 1.58-bit models of these names
 *   27b, 70b, 100b: 62 layers of 5376, 80 of 8192, 72 of 8192; mostly to be planned
 *   tiny   2 layers of 128
 * It has no tokenizer and therefore no end tokens. TERN_E_USAGE for an unknown name; the sentence
 * lists the names. */
int tern_model_preset(tern_model **out, const char *name, uint64_t seed, tern_error *err);

const tern_model_config *tern_model_config_of(const tern_model *model);

/* NULL for a preset. */
const tern_tokenizer *tern_model_tokenizer(const tern_model *model);

/* The chat template that the file asks for; TERN_CHAT_NONE for base models and presets. */
tern_chat_format tern_model_chat(const tern_model *model);

/* Bytes of the file (0 for a preset) and parameters of its tensors. */
uint64_t tern_model_file_bytes(const tern_model *model);
uint64_t tern_model_n_params(const tern_model *model);

/* The maker's known answer, stored in the file: ids [n] and, for every i < n-1, ln p(ids[i+1] |
 * ids[0..i]); an engine's own values differ by at most `tolerance`. n is 0 where the file has
 * none. */
typedef struct tern_canary {
    const int32_t *ids;
    const float *logprobs; /* [n-1] */
    size_t n;
    float tolerance;
} tern_canary;
tern_canary tern_model_canary(const tern_model *model);

/* Memory classes, for people and for the accounting. */
typedef enum tern_memory_class {
    TERN_MEMORY_WEIGHTS,     /* ternary matrices with their scales */
    TERN_MEMORY_TABLES,      /* embedding and head */
    TERN_MEMORY_KV,          /* pages */
    TERN_MEMORY_CONSTANTS,   /* norm gains, rotary tables */
    TERN_MEMORY_ACTIVATIONS, /* rows of the largest batch, logits, ids */
    TERN_MEMORY_SCRATCH,     /* of the programs, from the backend's own pure function */
    TERN_N_MEMORY_CLASSES,
} tern_memory_class;

/* "weights", "tables", ... */
const char *tern_memory_class_name(tern_memory_class memory_class);

typedef struct tern_memory {
    uint64_t bytes[TERN_N_MEMORY_CLASSES];
    uint64_t total;
} tern_memory;

/* The matrices of a model, in the order in which they are loaded. */
typedef enum tern_matrix {
    TERN_MATRIX_QKV,
    TERN_MATRIX_ATTN_OUT,
    TERN_MATRIX_GATE_UP,
    TERN_MATRIX_DOWN,
    TERN_N_LAYER_MATRICES,
    TERN_MATRIX_EMBED = TERN_N_LAYER_MATRICES, /* also the head where tied */
    TERN_MATRIX_HEAD,
} tern_matrix;

/* Shape of a matrix: pure, from the configuration alone. `head_type` matters to the tables only. */
tern_weight_desc tern_model_matrix(const tern_model_config *config, tern_matrix matrix,
                                   tern_head_type head_type);

#ifdef __cplusplus
}
#endif
#endif
