/* model_file.h - an open model inside the model floor: the file's tensors by role, all of them
 * checked. */
#ifndef TERN_MODEL_FILE_H
#define TERN_MODEL_FILE_H

#include "format/gguf.h"
#include "tern/model.h"

/* Tensors of one layer; the two sub-norms are NULL where the architecture has none. */
typedef struct tern_layer_tensors {
    const tern_gguf_tensor *attn_norm, *q, *k, *v, *attn_sub_norm, *attn_output;
    const tern_gguf_tensor *ffn_norm, *gate, *up, *ffn_sub_norm, *down;
} tern_layer_tensors;

/* Where the values of a model's tensors come from: one row (ne[0] values) at a time, so that a
 * source needs to hold none of them. */
typedef struct tern_values {
    /* Codes of a ternary row, one per byte. *scale comes in as the answer of `scale` and goes out
     * as the scale of this row, unchecked. TERN_E_MODEL for a row that is not ternary. */
    int (*codes)(uint8_t *out, float *scale, const tern_model *model, const tern_gguf_tensor *t,
                 size_t row, tern_error *err);
    /* What is known of the scales of a ternary tensor before its rows are read. */
    float (*scale)(const tern_model *model, const tern_gguf_tensor *t);
    /* A row of any other tensor, unchecked; NaN where it cannot be read. */
    void (*floats)(float *out, const tern_model *model, const tern_gguf_tensor *t, size_t row);
    /* Rows first .. first + n will not be read again soon. */
    void (*forget)(const tern_model *model, const tern_gguf_tensor *t, size_t first, size_t n);
} tern_values;

/* The values of a mapped file. */
extern const tern_values tern_values_file;

/* What a tensor is for. */
typedef enum tern_tensor_role {
    TERN_ROLE_NONE, /* the architecture has no place for it */
    TERN_ROLE_TERNARY,
    TERN_ROLE_TABLE,
    TERN_ROLE_VECTOR,
    TERN_ROLE_FACTOR, /* multiplies a ternary tensor from outside */
} tern_tensor_role;

typedef struct tern_preset tern_preset;
typedef struct tern_hf tern_hf;

#define TERN_PRESET_NAME_BYTES 40

struct tern_model {
    tern_gguf *gguf; /* of a preset: tensors only, no file; of a folder: its header */
    tern_hf *hf;     /* NULL: no folder of Hugging Face */
    const tern_values *values;
    const tern_preset *preset; /* NULL: a file */
    uint64_t seed;             /* of a preset's values */
    char (*preset_names)[TERN_PRESET_NAME_BYTES]; /* [n_tensors] */
    tern_tokenizer *tokenizer; /* NULL: a preset */
    tern_chat_format chat;
    tern_model_config config;
    tern_layer_tensors *layers; /* [n_layers] */
    const tern_gguf_tensor *token_embd, *output_norm;
    const tern_gguf_tensor *output;     /* NULL where tied */
    const tern_gguf_tensor *rope_freqs; /* [hd/2] divisors of the frequencies; NULL: none */
    float rope_factor;                  /* divides all of them */
    int qk_interleaved;     /* rows of q and k lie as neighbours rotate (FORMATS 8.6) */
    tern_i2s_layout i2s_layout;
    tern_tl_config *tl_config; /* NULL: the table of known models */
    float *factor;  /* [n_tensors] from outside the tensor (FORMATS 8.5); NULL: a preset, all 1 */
    uint8_t *role;  /* [n_tensors] tern_tensor_role */
    tern_canary canary;             /* its arrays belong to the model */
};

/* Hyper-parameters of the model's file into its configuration; `activation` overrides the file's,
 * unless NULL. TERN_E_MODEL names key and value, TERN_E_USAGE a wrong activation. */
int tern_config_read(tern_model *model, const char *activation, tern_error *err);

/* Finds, types and measures every tensor that the configuration asks for; those of a preset are
 * described as they are asked for. */
int tern_model_find_tensors(tern_model *model, tern_error *err);

/* Warns, through the log, of an I2_S layout that the dead channels of a layer contradict. *settled,
 * 0 at first, becomes 1 once a layer had enough of them. TERN_E_FIT without memory. */
int tern_layout_check(int *settled, const tern_model *model, int layer, tern_error *err);

/* Adds a tensor to a preset: shape is columns and rows, rows 0 for a vector. */
const tern_gguf_tensor *tern_preset_tensor(tern_model *model, const char *name, uint32_t type,
                                           const int shape[2]);

#endif
