/* gguf_shards.c - a model in several GGUF files (FORMATS 1.5), opened by the first one, which holds
 * all keys. Its tensors and those of the others become one list; each knows the file of its data.
 *
 * The others are looked for beside the first, under the names that splitting gives them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"
#include "format/gguf.h"

#define SUFFIX_BYTES 32 /* "-00001-of-00003.gguf" */

static const char *suffix_of(char out[SUFFIX_BYTES], int number, int count)
{
    snprintf(out, SUFFIX_BYTES, "-%05d-of-%05d.gguf", number + 1, count);
    return out;
}

/* Which of how many files this is; 0 of 1 without the keys. */
static int read_place(int *number, int *count, const tern_gguf *gguf, tern_error *err)
{
    int64_t no = 0, of = 1;
    int status = tern_gguf_i64(&of, gguf, "split.count", 1, 0, UINT16_MAX, err);
    if (status == TERN_OK) status = tern_gguf_i64(&no, gguf, "split.no", 0, 0, UINT16_MAX, err);
    if (status != TERN_OK) return status;
    *number = (int)no;
    *count = of > 1 ? (int)of : 1;
    return TERN_OK;
}

/* The path of file `number` of `count`; free it. The first one's own path must follow the rule. */
static int shard_path(char **out, const tern_gguf *first, int number, int count, tern_error *err)
{
    char suffix[SUFFIX_BYTES];
    const size_t bytes = strlen(first->name), end = strlen(suffix_of(suffix, 0, count));
    if (bytes < end || strcmp(first->name + bytes - end, suffix) != 0)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s' is the first of %d files, but its name does not end in %s, "
                         "which tells the names of the others: rename them so",
                         first->name, count, suffix);
    const int status = tern_alloc(out, bytes + SUFFIX_BYTES, 1, "a file name", err);
    if (status == TERN_OK)
        snprintf(*out, bytes + SUFFIX_BYTES, "%.*s%s", (int)(bytes - end), first->name,
                 suffix_of(suffix, number, count));
    return status;
}

static int add_shard(tern_gguf *gguf, int number, int count, tern_error *err)
{
    char *path;
    int got_number, got_count;
    int status = shard_path(&path, gguf, number, count, err);
    if (status != TERN_OK) return status;
    tern_gguf **shard = &gguf->shards[gguf->n_shards];
    status = tern_gguf_open_alone(shard, path, err);
    free(path);
    if (status != TERN_OK) return status;
    gguf->n_shards++;
    status = read_place(&got_number, &got_count, *shard, err);
    if (status == TERN_OK && (got_number != number || got_count != count))
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s' says that it is file %d of %d instead of %d of %d: the files "
                         "are not of one model",
                         (*shard)->name, got_number + 1, got_count, number + 1, count);
    return status;
}

/* One list of all tensors instead of the first file's. */
static int join_tensors(tern_gguf *gguf, tern_error *err)
{
    size_t n = gguf->n_tensors;
    for (size_t i = 0; i < gguf->n_shards; i++) n += gguf->shards[i]->n_tensors;
    int64_t wanted = 0;
    int status = tern_gguf_i64(&wanted, gguf, "split.tensors.count", (int64_t)n, 0, INT64_MAX, err);
    if (status == TERN_OK && (uint64_t)wanted != n)
        status = tern_fail(err, TERN_E_MODEL,
                           "'%.140s' says that its files hold %lld tensors, but they hold %zu: get "
                           "all files again",
                           gguf->name, (long long)wanted, n);
    tern_gguf_tensor *all;
    if (status == TERN_OK)
        status = tern_alloc(&all, n, sizeof *all, "the tensors of a model file", err);
    if (status != TERN_OK) return status;
    size_t used = gguf->n_tensors;
    if (used) memcpy(all, gguf->tensors, used * sizeof *all);
    for (size_t i = 0; i < gguf->n_shards; i++) {
        const tern_gguf *shard = gguf->shards[i];
        if (shard->n_tensors) memcpy(all + used, shard->tensors, shard->n_tensors * sizeof *all);
        used += shard->n_tensors;
    }
    free(gguf->tensors);
    gguf->tensors = all;
    gguf->n_tensors = n;
    return tern_gguf_check_names(gguf, err);
}

static int add_shards(tern_gguf *gguf, tern_error *err)
{
    int number, count;
    int status = read_place(&number, &count, gguf, err);
    if (status != TERN_OK || count == 1) return status;
    if (number != 0)
        return tern_fail(err, TERN_E_MODEL,
                         "'%.140s' is file %d of a model in %d files: give the first one",
                         gguf->name, number + 1, count);
    status = tern_alloc(&gguf->shards, (size_t)count - 1, sizeof *gguf->shards,
                        "the files of a model", err);
    for (int i = 1; i < count && status == TERN_OK; i++) status = add_shard(gguf, i, count, err);
    return status == TERN_OK ? join_tensors(gguf, err) : status;
}

int tern_gguf_open(tern_gguf **out, const char *path, tern_error *err)
{
    tern_gguf *gguf;
    int status = tern_gguf_open_alone(&gguf, path, err);
    if (status != TERN_OK) return status;
    status = add_shards(gguf, err);
    if (status == TERN_OK)
        *out = gguf;
    else
        tern_gguf_close(gguf);
    return status;
}

uint64_t tern_gguf_bytes(const tern_gguf *gguf)
{
    uint64_t bytes = gguf->file.bytes + gguf->elsewhere;
    for (size_t i = 0; i < gguf->n_shards; i++) bytes += gguf->shards[i]->file.bytes;
    return bytes;
}
