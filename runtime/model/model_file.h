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
    /* Codes of a ternary row, one per byte; 0 when one of them is 3. */
    int (*codes)(uint8_t *out, const tern_model *model, const tern_gguf_tensor *t, size_t row);
    /* The scale of a ternary tensor, unchecked. */
    float (*scale)(const tern_model *model, const tern_gguf_tensor *t);
    /* A row of an F32 or F16 tensor, unchecked. */
    void (*floats)(float *out, const tern_model *model, const tern_gguf_tensor *t, size_t row);
    /* The tensor will not be read again soon. */
    void (*forget)(const tern_model *model, const tern_gguf_tensor *t);
} tern_values;

/* The values of a mapped file. */
extern const tern_values tern_values_file;

typedef struct tern_preset tern_preset;

#define TERN_PRESET_NAME_BYTES 40

struct tern_model {
    tern_gguf *gguf; /* of a preset: tensors only, no file */
    const tern_values *values;
    const tern_preset *preset; /* NULL: a file */
    uint64_t seed;             /* of a preset's values */
    char (*preset_names)[TERN_PRESET_NAME_BYTES]; /* [n_tensors] */
    tern_tokenizer *tokenizer; /* NULL: a preset */
    tern_chat_format chat;
    tern_model_config config;
    tern_layer_tensors *layers; /* [n_layers] */
    const tern_gguf_tensor *token_embd, *output_norm;
    const tern_gguf_tensor *output; /* NULL where tied */
    tern_canary canary;             /* its arrays belong to the model */
};

/* Hyper-parameters of the file into a configuration; TERN_E_MODEL names key and value. */
int tern_config_read(tern_model_config *out, const tern_gguf *gguf, const tern_tokenizer *tokenizer,
                     tern_error *err);

/* Finds, types and measures every tensor that the configuration asks for; those of a preset are
 * described as they are asked for. */
int tern_model_find_tensors(tern_model *model, tern_error *err);

/* Adds a tensor to a preset: shape is columns and rows, rows 0 for a vector. */
const tern_gguf_tensor *tern_preset_tensor(tern_model *model, const char *name, uint32_t type,
                                           const int shape[2]);

#endif
