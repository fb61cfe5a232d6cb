/* test_gguf_shards.c - a model in several files is the same model, its conversion the same file;
 * and whatever does not fit together is refused by a sentence. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/files.h"
#include "logits.h"
#include "shard_files.h"

static void test_logits(void **state)
{
    (void)state;
    static const tiny_options list[] = {{0},
                                        {.ternary = TERN_GGML_TQ2_0, .untied = 1},
                                        {.outer_scales = 1, .table = TERN_GGML_F16}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const shards f = shards_make(&list[i], &(shard_faults){0});
        float *one = case_alloc(N_LOGITS * sizeof *one), *many = case_alloc(N_LOGITS * sizeof *one);
        char path[80], whole[40];
        tern_error err = {0};
        const int fd = tiny_file(whole, &list[i]);
        shards_path(path, &f, 0);
        if (logits_at(one, whole, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
        if (logits_at(many, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
        assert_memory_equal(one, many, N_LOGITS * sizeof *one);
        close(fd);
        free(one);
        free(many);
        shards_remove(&f);
    }
}

/* Converts, reads and removes. */
static tern_file converted(const char *from, const char *folder)
{
    char to[80];
    tern_model *model;
    tern_file file = {0};
    tern_error err = {0};
    snprintf(to, sizeof to, "%s/converted.gguf", folder);
    if (tern_model_open(&model, from, &err) != TERN_OK ||
        tern_model_convert(model, to, NULL, &err) != TERN_OK ||
        tern_file_map(&file, to, &err) != TERN_OK)
        fail_msg("%s", err.text);
    tern_model_close(model);
    unlink(to);
    return file;
}

static bool has_tensor(const tern_gguf *gguf, const tern_gguf_tensor *t, const tern_file *file)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)t->name.bytes, t->name.data);
    const tern_gguf_tensor *same = tern_gguf_find_tensor(gguf, name);
    return same && same->type == t->type && same->bytes == t->bytes &&
           memcmp(same->file->data + same->offset, file->data + t->offset, t->bytes) == 0;
}

/* One file with all tensors and the known answer, which speaks of no others. */
static void test_convert(void **state)
{
    (void)state;
    const tiny_options o = {.table = TERN_GGML_F16};
    const shards f = shards_make(&o, &(shard_faults){0});
    char path[80], whole[40];
    shards_path(path, &f, 0);
    const int fd = tiny_file(whole, &o);
    tern_file from_one = converted(whole, f.folder), from_many = converted(path, f.folder);
    tern_gguf *one, *many;
    assert_int_equal(from_one.bytes, from_many.bytes);
    assert_int_equal(tern_gguf_parse(&one, from_one.data, from_one.bytes, "one", NULL), TERN_OK);
    assert_int_equal(tern_gguf_parse(&many, from_many.data, from_many.bytes, "many", NULL),
                     TERN_OK);
    assert_int_equal(one->n_tensors, many->n_tensors);
    for (size_t i = 0; i < one->n_tensors; i++)
        assert_true(has_tensor(many, &one->tensors[i], &one->file));
    assert_non_null(tern_gguf_find(many, "tern.canary.tokens"));
    assert_null(tern_gguf_find(many, "split.count"));
    tern_gguf_close(one);
    tern_gguf_close(many);
    tern_file_unmap(&from_one);
    tern_file_unmap(&from_many);
    close(fd);
    shards_remove(&f);
}

/* ---- what is refused ------------------------------------------------------------------------- */

static void refused(const char *path, const char *words)
{
    tern_gguf *gguf = NULL;
    tern_error err = {0};
    const int status = tern_gguf_open(&gguf, path, &err);
    if (status != TERN_E_MODEL || err.status != TERN_E_MODEL || !strstr(err.text, words))
        fail_msg("wanted '%s', got %d: %s", words, status, err.text);
    assert_null(gguf);
}

static void test_faults(void **state)
{
    (void)state;
    static const struct {
        shard_faults wrong;
        const char *words;
    } list[] = {{{.number = 1}, "that it is file 4 of 3 instead of 3 of 3"},
                {{.n_files = 1}, "that it is file 3 of 4 instead of 3 of 3"},
                {{.n_files = 1 - N_SHARDS}, "that it is file 3 of 1 instead of 3 of 3"},
                {{.n_tensors = 1}, "hold 25 tensors, but they hold 24: get all files again"},
                {{.twice = 1}, "tensor 'token_embd.weight' occurs twice"}};
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const shards f = shards_make(&(tiny_options){0}, &list[i].wrong);
        char path[80];
        shards_path(path, &f, 0);
        refused(path, list[i].words);
        shards_remove(&f);
    }
}

static void test_files(void **state)
{
    (void)state;
    const shards f = shards_make(&(tiny_options){0}, &(shard_faults){0});
    char first[80], second[80], other[80];
    shards_path(first, &f, 0);
    shards_path(second, &f, 1);
    refused(second, "is file 2 of a model in 3 files: give the first one");
    snprintf(other, sizeof other, "%s/other.gguf", f.folder);
    assert_int_equal(rename(first, other), 0);
    refused(other, "does not end in -00001-of-00003.gguf");
    assert_int_equal(rename(other, first), 0);
    assert_int_equal(rename(second, other), 0);
    refused(first, "-00002-of-00003.gguf': No such file or directory");
    unlink(other);
    shards_remove(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_logits),
        cmocka_unit_test(test_convert),
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
