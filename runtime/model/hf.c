/* hf.c - opens the files of a checkpoint folder and puts its header together. */
#include "model/hf.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/files.h"
#include "base/memory.h"
#include "base/text.h"
#include "format/tokenizer_json.h"

#define MAX_FILES 4096
#define MAX_TEMPLATE_BYTES ((size_t)1 << 20)

/* "FOLDER/name"; free it. */
static int join(char **out, const tern_hf *hf, const char *name, tern_error *err)
{
    const size_t bytes = strlen(hf->path) + strlen(name) + 2;
    const int status = tern_alloc(out, bytes, 1, "a path", err);
    if (status == TERN_OK) snprintf(*out, bytes, "%s/%s", hf->path, name);
    return status;
}

static int open_json(json_t **out, const tern_hf *hf, const char *name, bool optional,
                     tern_error *err)
{
    char *path;
    int status = join(&path, hf, name, err);
    if (status != TERN_OK) return status;
    status = tern_json_open(out, path, optional, err);
    free(path);
    return status;
}

/* Opens a file of tensors, unless it is open already. A name is that of a file in this folder. */
static int open_file(tern_hf *hf, const char *name, tern_error *err)
{
    if (!name || strchr(name, '/') || name[0] == '.' || hf->n_files == MAX_FILES)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s': the index names the file '%s', which is not in the folder: get "
                         "the checkpoint again",
                         hf->path, name ? TERN_QUOTED(name, strlen(name)) : "");
    char *path;
    int status = join(&path, hf, name, err);
    if (status != TERN_OK) return status;
    for (size_t i = 0; i < hf->n_files; i++)
        if (strcmp(hf->files[i]->name, path) == 0) {
            free(path);
            return TERN_OK;
        }
    tern_safetensors **grown = realloc(hf->files, (hf->n_files + 1) * sizeof *grown);
    if (!grown) status = tern_fail(err, TERN_E_FIT, "no memory for '%.140s'", path);
    if (grown) hf->files = grown;
    if (status == TERN_OK) status = tern_safetensors_open(&hf->files[hf->n_files], path, err);
    if (status == TERN_OK) hf->n_files++;
    free(path);
    return status;
}

/* One file, or those that an index names. */
static int open_files(tern_hf *hf, tern_error *err)
{
    json_t *index = NULL;
    int status = open_json(&index, hf, "model.safetensors.index.json", true, err);
    if (status != TERN_OK) return status;
    if (!index) return open_file(hf, "model.safetensors", err);
    const char *name;
    json_t *file, *map = json_object_get(index, "weight_map");
    if (json_object_size(map) == 0)
        status = tern_fail(err, TERN_E_MODEL,
                           "'%.140s': the index of tensors has no weight_map: get the checkpoint "
                           "again",
                           hf->path);
    json_object_foreach(map, name, file)
    {
        if (status == TERN_OK) status = open_file(hf, json_string_value(file), err);
    }
    json_decref(index);
    return status;
}

/* The text of a template that has a file of its own; bytes 0 and data NULL without one. */
static int map_template(tern_file *file, const tern_hf *hf, tern_error *err)
{
    char *path;
    int status = join(&path, hf, "chat_template.jinja", err);
    if (status != TERN_OK) return status;
    if (access(path, F_OK) == 0 || errno != ENOENT) {
        status = tern_file_map(file, path, err);
        if (status != TERN_OK && err) err->status = TERN_E_MODEL;
        if (status != TERN_OK) status = TERN_E_MODEL;
    }
    if (status == TERN_OK && file->bytes > MAX_TEMPLATE_BYTES)
        status = tern_fail(err, TERN_E_MODEL,
                           "'%.140s' has %zu bytes, more than %zu: it is no chat template", path,
                           file->bytes, MAX_TEMPLATE_BYTES);
    free(path);
    return status;
}

static int write_tokenizer(tern_hf *hf, tern_error *err)
{
    const tern_hf_config *c = &hf->config;
    tern_tokenizer_extra extra = {
        .n_vocab = (int32_t)c->n_vocab,
        .bos = (int32_t)c->bos,
        .ends = {(int32_t)c->ends[0], (int32_t)c->ends[1], (int32_t)c->ends[2]},
        .config = hf->tokenizer_config};
    char *name;
    int status = join(&name, hf, "tokenizer.json", err);
    if (status != TERN_OK) return status;
    tern_file chat = {0};
    status = map_template(&chat, hf, err);
    extra.chat = (tern_text){.data = (const char *)chat.data, .bytes = chat.bytes};
    if (status == TERN_OK)
        status = tern_tokenizer_json_keys(&hf->header, hf->tokenizer, &extra, name, err);
    tern_file_unmap(&chat);
    free(name);
    return status;
}

static int open_all(tern_hf *hf, tern_error *err)
{
    int status = open_json(&hf->json, hf, "config.json", false, err);
    if (status == TERN_OK) status = open_json(&hf->tokenizer, hf, "tokenizer.json", false, err);
    if (status == TERN_OK)
        status = open_json(&hf->tokenizer_config, hf, "tokenizer_config.json", true, err);
    if (status == TERN_OK)
        status = open_json(&hf->generation, hf, "generation_config.json", true, err);
    if (status == TERN_OK) status = tern_hf_read_config(hf, err);
    if (status == TERN_OK) status = open_files(hf, err);
    if (status == TERN_OK) tern_hf_write_keys(hf);
    if (status == TERN_OK) status = write_tokenizer(hf, err);
    if (status == TERN_OK) status = tern_hf_find_tensors(hf, err);
    return status == TERN_OK ? tern_gguf_writer_finish(&hf->header, err) : status;
}

int tern_hf_open(tern_hf **out, const char *path, tern_error *err)
{
    tern_hf *hf;
    int status = tern_alloc(&hf, 1, sizeof *hf, "a checkpoint", err);
    if (status != TERN_OK) return status;
    status = tern_alloc(&hf->path, strlen(path) + 1, 1, "a path", err);
    if (status == TERN_OK) {
        memcpy(hf->path, path, strlen(path));
        status = open_all(hf, err);
    }
    /* Where the texts came from is not needed any more. */
    json_decref(hf->tokenizer);
    hf->tokenizer = NULL;
    if (status == TERN_OK)
        *out = hf;
    else
        tern_hf_close(hf);
    return status;
}

void tern_hf_close(tern_hf *hf)
{
    if (!hf) return;
    json_decref(hf->json);
    json_decref(hf->tokenizer);
    json_decref(hf->tokenizer_config);
    json_decref(hf->generation);
    for (size_t i = 0; i < hf->n_files; i++) tern_safetensors_close(hf->files[i]);
    free(hf->files);
    tern_gguf_writer_free(&hf->header);
    free(hf->tensors);
    free(hf->path);
    free(hf);
}
