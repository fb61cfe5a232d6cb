/* test_supported.c - the published models of FORMATS 11, each as a small random model of the same
 * class, storage and tokenizer: it runs from its own files, and from what `tern convert` makes of
 * them with the same logits. The table in README.md is this one, word by word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/files.h"
#include "hf_folder.h"
#include "logits.h"

#define BEGIN "<!-- supported models: tests/test_supported.c -->\n"
#define END "<!-- end -->\n"

/* A published model and what stands for it here. */
typedef struct supported {
    const char *model, *files; /* of the table */
    int is_folder;
    hf_options folder;
    tiny_options file;
} supported;

#define LLAMA                                                 \
    {                                                         \
        .arch = "llama", .untied = 1, .table = TERN_GGML_BF16 \
    }
#define LLAMA_FILE(type)                                                                        \
    {                                                                                           \
        .arch = "llama", .untied = 1, .table = TERN_GGML_F16, .interleaved = 1, .ternary = type \
    }

static const supported list[] = {
    {"microsoft/bitnet-b1.58-2B-4T",
     "folder: packed, multiplied",
     1,
     {.tiny = {.table = TERN_GGML_BF16}, .storage = HF_MULTIPLY},
     {0}},
    {"microsoft/bitnet-b1.58-2B-4T-bf16",
     "folder: bf16 masters",
     1,
     {.tiny = {.table = TERN_GGML_BF16}, .storage = HF_ONLINE},
     {0}},
    {"microsoft/bitnet-b1.58-2B-4T-gguf",
     "GGUF: I2_S, F16 table",
     0,
     {{0}, 0, 0, NULL},
     {.table = TERN_GGML_F16}},
    {"1bitLLM/bitnet_b1_58-large, -xl, -3B",
     "folder: float masters",
     1,
     {.tiny = {.arch = "bitnet", .table = TERN_GGML_F16, .f = 420}, .storage = HF_PLAIN},
     {0}},
    {"the same, converted by bitnet.cpp",
     "GGUF: I2_S with scales outside, TL1, TL2",
     0,
     {{0}, 0, 0, NULL},
     {.arch = "bitnet", .table = TERN_GGML_F16, .outer_scales = 1}},
    {"HF1BitLLM/Llama3-8B-1.58-100B-tokens",
     "folder: packed, divided",
     1,
     {.tiny = LLAMA, .storage = HF_DIVIDE, .shards = 1},
     {0}},
    {"tiiuae/Falcon3-{1B,3B,7B,10B}-*-1.58bit",
     "folder: packed, divided",
     1,
     {.tiny = LLAMA, .storage = HF_DIVIDE},
     {0}},
    {"tiiuae/Falcon-E-{1B,3B}-*",
     "folder: packed or bf16",
     1,
     {.tiny = LLAMA, .storage = HF_ONLINE},
     {0}},
    {"the three above, as GGUF",
     "GGUF: I2_S, TQ1_0, TQ2_0, F16, BF16",
     0,
     {{0}, 0, 0, NULL},
     LLAMA_FILE(TERN_GGML_TQ2_0)},
    {"either, by ik_llama.cpp",
     "GGUF: IQ1_BN, IQ2_BN",
     0,
     {{0}, 0, 0, NULL},
     LLAMA_FILE(TERN_GGML_IQ2_BN)},
};

static float *logits_of(const char *path)
{
    float *logits = case_alloc(N_LOGITS * sizeof *logits);
    tern_error err = {0};
    if (logits_at(logits, path, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    return logits;
}

/* Runs the model at `path`, and its conversion. */
static void check(const char *path)
{
    char converted[] = "/tmp/tern-supported-XXXXXX";
    tern_model *model;
    tern_error err = {0};
    const int fd = mkstemp(converted);
    assert_true(fd >= 0);
    close(fd);
    unlink(converted);
    float *before = logits_of(path);
    assert_int_equal(tern_model_open(&model, path, &err), TERN_OK);
    if (tern_model_convert(model, converted, NULL, &err) != TERN_OK) fail_msg("%s", err.text);
    tern_model_close(model);
    float *after = logits_of(converted);
    unlink(converted);
    assert_memory_equal(before, after, N_LOGITS * sizeof *before);
    free(before);
    free(after);
}

static void test_models(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        if (list[i].is_folder) {
            const hf_folder folder = hf_make(&list[i].folder);
            check(folder.path);
            hf_remove(&folder);
            continue;
        }
        char path[40];
        const int fd = tiny_file(path, &list[i].file);
        check(path);
        close(fd);
    }
}

static void test_readme(void **state)
{
    (void)state;
    char wanted[8192] = BEGIN "| model | files |\n|---|---|\n";
    for (size_t i = 0; i < sizeof list / sizeof list[0]; i++) {
        const size_t used = strlen(wanted);
        snprintf(wanted + used, sizeof wanted - used, "| %s | %s |\n", list[i].model,
                 list[i].files);
    }
    strcat(wanted, END);
    FILE *file = fopen(TERN_SOURCE_DIR "/README.md", "rb");
    assert_non_null(file);
    char *text = NULL;
    size_t bytes;
    assert_int_equal(tern_stream_read(&text, &bytes, file, "README.md", 1 << 20, NULL), TERN_OK);
    fclose(file);
    const int same = strstr(text, wanted) != NULL;
    free(text);
    if (!same) fail_msg("README.md has another table; this one is right:\n%s", wanted);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_models),
        cmocka_unit_test(test_readme),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
