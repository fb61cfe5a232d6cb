/* hf.h - a checkpoint folder of Hugging Face (FORMATS 10): config.json, tokenizer.json and
 * safetensors, described by the header that a GGUF file of the same model would have. From there on
 * it is opened like one; only the values come from elsewhere (hf_values.c).
 *
 *   hf.c          files of the folder, and the whole
 *   hf_config.c   config.json to keys
 *   hf_tensors.c  names of tensors, packed or float, to the list of the header */
#ifndef TERN_MODEL_HF_H
#define TERN_MODEL_HF_H

#include "format/gguf_writer.h"
#include "format/json.h"
#include "format/safetensors.h"
#include "model/model_file.h"

/* Where a tensor of the header has its values. */
typedef struct tern_hf_tensor {
    const tern_safetensors *file;
    const tern_st_tensor *st;
    float scale;     /* of a packed matrix (FORMATS 10.2, 10.3) */
    int packed;      /* four rows of codes in one, a quarter of the matrix apart */
    int masters;     /* floats are quantised by absmean; else they must be ternary */
    int interleaved; /* the header's rows of q and k alternate between the halves of a head */
} tern_hf_tensor;

/* What config.json says. */
typedef struct tern_hf_config {
    const char *arch; /* of the header */
    const char *act;
    int sub_norms, tied;
    int64_t d, f, n_layers, h, kv, hd, n_ctx, n_vocab, bos;
    int64_t ends[3];
    float eps, rope_base, rope_factor;
    int divides; /* packed weights are divided by their scale */
    int masters; /* float weights wait for quantisation */
} tern_hf_config;

typedef struct tern_hf {
    char *path;
    json_t *json, *tokenizer, *tokenizer_config, *generation; /* the last three may be NULL */
    tern_safetensors **files;
    size_t n_files;
    tern_hf_config config;
    tern_gguf_writer header;
    tern_hf_tensor *tensors; /* in the header's order */
    size_t n_tensors;
} tern_hf;

/* Opens and checks a folder; its header is complete. TERN_E_MODEL with one sentence. */
int tern_hf_open(tern_hf **out, const char *path, tern_error *err);
void tern_hf_close(tern_hf *hf);

/* The values of the model's folder. */
extern const tern_values tern_values_hf;

/* Of hf_config.c: reads config.json, and writes the keys of the header without the tokenizer's. */
int tern_hf_read_config(tern_hf *hf, tern_error *err);
void tern_hf_write_keys(tern_hf *hf);

/* Of hf_tensors.c: finds every tensor and puts it into header and list. */
int tern_hf_find_tensors(tern_hf *hf, tern_error *err);

#endif
