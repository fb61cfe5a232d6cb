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

struct tern_model {
    tern_gguf *gguf;
    tern_tokenizer *tokenizer;
    tern_model_config config;
    tern_layer_tensors *layers; /* [n_layers] */
    const tern_gguf_tensor *token_embd, *output_norm;
    const tern_gguf_tensor *output; /* NULL where tied */
    tern_canary canary;             /* its arrays belong to the model */
};

/* Hyper-parameters of the file into a configuration; TERN_E_MODEL names key and value. */
int tern_config_read(tern_model_config *out, const tern_gguf *gguf, const tern_tokenizer *tokenizer,
                     tern_error *err);

/* Element values of an F32 or F16 tensor, first .. first+n of the flat array. */
void tern_tensor_floats(float *out, const tern_gguf *gguf, const tern_gguf_tensor *tensor,
                        size_t first, size_t n);

#endif
