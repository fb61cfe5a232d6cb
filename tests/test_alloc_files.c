/* test_alloc_files.c - memory that runs out while files are opened and converted: one clean error,
 * nothing left behind, neither in memory (the address sanitizer looks) nor on disk. The allocations
 * of the JSON library count, too; where one of them fails, the library may call the text wrong, or
 * do without. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>
#include <jansson.h>

#include "failing_alloc.h"
#include "hf_folder.h"
#include "sentencepiece_builder.h"
#include "shard_files.h"
#include "tern/model.h"

static int json_failed; /* the allocation that failed was the JSON library's */

static void *json_malloc(size_t bytes)
{
    if (!fails()) return __real_malloc(bytes);
    json_failed = 1;
    return NULL;
}

/* Runs `work` with allocation 1, 2, ... failing until it gets through. Steps grow, so that long
 * works are sampled: the first 400 allocations one by one. */
static void check_every_failure(int (*work)(const char *path, tern_error *err), const char *path)
{
    for (int n = 1;; n += 1 + n / 400) {
        tern_error err = {0};
        json_failed = 0;
        count_from_here(n);
        const int status = work(path, &err);
        const int reached = atomic_load(&n_allocations) >= n;
        count_from_here(0);
        if (!reached) {
            assert_int_equal(status, TERN_OK);
            assert_true(n > 20);
            return;
        }
        const int clean = status == TERN_E_FIT && strstr(err.text, "memory");
        if (err.status != status || (!clean && !json_failed))
            fail_msg("allocation %d failed: status %d: %s", n, status, err.text);
    }
}

static int open_it(const char *path, tern_error *err)
{
    tern_model *model = NULL;
    const int status = tern_model_open(&model, path, err);
    tern_model_close(model);
    return status;
}

/* Opens, and writes a file, which must not be there after a failure. */
static int convert_it(const char *path, tern_error *err)
{
    char target[128], part[160];
    snprintf(target, sizeof target, "%s.gguf", path);
    snprintf(part, sizeof part, "%s.%ld.part", target, (long)getpid());
    tern_model *model = NULL;
    int status = tern_model_open(&model, path, err);
    if (status == TERN_OK) status = tern_model_convert(model, target, NULL, err);
    tern_model_close(model);
    assert_int_equal(access(part, F_OK), -1);
    assert_int_equal(access(target, F_OK), status == TERN_OK ? 0 : -1);
    unlink(target);
    return status;
}

static void test_folder(void **state)
{
    (void)state;
    const hf_options o = {.shards = 1};
    const hf_folder folder = hf_make(&o);
    check_every_failure(open_it, folder.path);
    hf_remove(&folder);
}

/* A tokenizer.model instead of the tokenizer.json. */
static void test_pieces(void **state)
{
    (void)state;
    const hf_options o = {0};
    const hf_folder folder = hf_make(&o);
    char path[160];
    gguf_builder file = small_sentencepiece(2, 1, 0);
    FILE *to = hf_create(&folder, "tokenizer.model");
    assert_int_equal(fwrite(file.bytes, 1, file.n, to), file.n);
    fclose(to);
    free(file.bytes);
    snprintf(path, sizeof path, "%s/tokenizer.json", folder.path);
    unlink(path);
    check_every_failure(open_it, folder.path);
    hf_remove(&folder);
}

static void test_shards(void **state)
{
    (void)state;
    const shards f = shards_make(&(tiny_options){0}, &(shard_faults){0});
    char path[80];
    shards_path(path, &f, 0);
    check_every_failure(open_it, path);
    shards_remove(&f);
}

static void test_convert(void **state)
{
    (void)state;
    const hf_options o = {.storage = HF_ONLINE};
    const hf_folder folder = hf_make(&o);
    tern_error err = {0};
    if (convert_it(folder.path, &err) != TERN_OK) fail_msg("%s", err.text);
    check_every_failure(convert_it, folder.path);
    hf_remove(&folder);
}

int main(void)
{
    json_set_alloc_funcs(json_malloc, free);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folder),
        cmocka_unit_test(test_pieces),
        cmocka_unit_test(test_shards),
        cmocka_unit_test(test_convert),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
