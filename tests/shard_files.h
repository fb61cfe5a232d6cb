/* shard_files.h - a tiny model in three GGUF files, right or wrong ones. */
#ifndef TERN_TESTS_SHARD_FILES_H
#define TERN_TESTS_SHARD_FILES_H

#include "tiny_model.h"

enum { N_SHARDS = 3 };

/* What is wrong with the files; all zero: nothing. */
typedef struct shard_faults {
    int number;    /* added to the number of the last file */
    int n_files;   /* added to the number of files that the last one tells */
    int n_tensors; /* added to the number of tensors that the first one tells */
    int twice;     /* the last file repeats the first tensor */
} shard_faults;

typedef struct shards {
    char folder[32];
} shards;

static inline void shards_path(char out[80], const shards *f, int number)
{
    snprintf(out, 80, "%s/m-%05d-of-%05d.gguf", f->folder, number + 1, N_SHARDS);
}

static inline void put_u16_key(gguf_builder *b, const char *key, int value)
{
    const uint16_t narrow = (uint16_t)value;
    put_key(b, key, TERN_GGUF_U16);
    put_bytes(b, &narrow, sizeof narrow);
}

/* All keys of the model are in the first file. */
static inline gguf_builder shards_begin(const tiny_model *m, int number, const shard_faults *wrong)
{
    const int last = number == N_SHARDS - 1;
    gguf_builder b = {0}, keys = {0};
    uint64_t n_keys = 3;
    if (number == 0) {
        b = tiny_vocabulary(0);
        n_keys += 4 + tiny_keys(&keys, &m->o);
    } else {
        put_header(&b, 3, 0, 0);
    }
    put_u16_key(&keys, "split.no", number + (last ? wrong->number : 0));
    put_u16_key(&keys, "split.count", N_SHARDS + (last ? wrong->n_files : 0));
    put_key_u32(&keys, "split.tensors.count", (uint32_t)(m->n + wrong->n_tensors));
    put_bytes(&b, keys.bytes, keys.n);
    free(keys.bytes);
    memcpy(b.bytes + 16, &n_keys, 8);
    return b;
}

/* Every third tensor, from tensor `number` on. */
static inline gguf_builder shards_build(const tiny_model *m, int number, const shard_faults *wrong)
{
    gguf_builder b = shards_begin(m, number, wrong), data = {0};
    uint64_t n = 0;
    for (int i = number; i < m->n; i += N_SHARDS, n++) {
        const tiny_tensor *t =
            wrong->twice && number == N_SHARDS - 1 && n == 0 ? &m->tensor[0] : &m->tensor[i];
        put_tensor(&b, t->name, t->n_out ? 2 : 1, (uint64_t[]){t->k, t->n_out}, t->type, data.n);
        put_bytes(&data, t->data, t->bytes);
        put_data(&data, 32, 0);
    }
    put_data(&b, 32, 0);
    put_bytes(&b, data.bytes, data.n);
    memcpy(b.bytes + 8, &n, 8);
    free(data.bytes);
    return b;
}

static inline shards shards_make(const tiny_options *o, const shard_faults *wrong)
{
    shards f = {.folder = "/tmp/tern-shards-XXXXXX"};
    if (!mkdtemp(f.folder)) abort();
    tiny_model m = tiny_make(o);
    for (int i = 0; i < N_SHARDS; i++) {
        char path[80];
        shards_path(path, &f, i);
        gguf_builder b = shards_build(&m, i, wrong);
        FILE *to = fopen(path, "w");
        if (!to || fwrite(b.bytes, 1, b.n, to) != b.n || fclose(to) != 0) abort();
        free(b.bytes);
    }
    tiny_free(&m);
    return f;
}

static inline void shards_remove(const shards *f)
{
    char path[80];
    for (int i = 0; i < N_SHARDS; i++) {
        shards_path(path, f, i);
        unlink(path);
    }
    if (rmdir(f->folder) != 0) abort();
}

#endif
