/* fuzz_gguf.c - any bytes as a model file: opened, its tokenizer used, its rows read. */
#include <sys/mman.h>
#include <unistd.h>

#include "fuzz.h"
#include "model/model_file.h"

#define MOST_VALUES (1 << 16)

/* The first and last row of every tensor, as a load would read them. */
static void read_rows(const tern_model *model)
{
    for (size_t i = 0; i < model->gguf->n_tensors; i++) {
        const tern_gguf_tensor *t = &model->gguf->tensors[i];
        const size_t k = (size_t)t->ne[0], rows = (size_t)(t->n_elements / t->ne[0]);
        if (k > MOST_VALUES) continue;
        float *values = calloc(k, sizeof *values), scale = 1.0f;
        uint8_t *codes = calloc(k, 1);
        if (!values || !codes) abort();
        for (size_t row = 0; row<rows; row += rows> 1 ? rows - 1 : 1) {
            tern_error err = {0};
            if (model->role[i] == TERN_ROLE_TERNARY)
                check_status(model->values->codes(codes, &scale, model, t, row, &err), &err);
            else
                model->values->floats(values, model, t, row);
        }
        free(values);
        free(codes);
    }
}

static void use_tokenizer(const tern_tokenizer *tokenizer)
{
    static const char text[] = "Hello, world! <s> 12345\n\n \xff\xe2\x96\x81 abc";
    int32_t ids[256];
    size_t n;
    tern_error err = {0};
    for (unsigned flags = 0; flags < 4; flags++)
        check_status(tern_tokenizer_encode(tokenizer, ids, 256, &n, text, sizeof text, flags, &err),
                     &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static int fd = -1;
    if (fd < 0) fd = memfd_create("fuzz", MFD_CLOEXEC);
    if (ftruncate(fd, (off_t)n) != 0 || pwrite(fd, data, n, 0) != (ssize_t)n) abort();
    char path[40];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    tern_model *model = NULL;
    tern_error err = {0};
    const int status = tern_model_open(&model, path, &err);
    check_status(status, &err);
    if (status == TERN_OK) {
        read_rows(model);
        use_tokenizer(tern_model_tokenizer(model));
    }
    tern_model_close(model);
    return 0;
}
