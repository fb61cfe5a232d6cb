/* fuzz_safetensors.c - any bytes as a safetensors file. */
#include "format/safetensors.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    tern_safetensors *file = NULL;
    tern_error err = {0};
    const int status = tern_safetensors_parse(&file, data, n, "fuzz", &err);
    check_status(status, &err);
    for (size_t i = 0; file && i < file->n_tensors; i++) {
        const tern_st_tensor *t = &file->tensors[i];
        if (t->bytes > n || t->offset > n - t->bytes) abort();
        if (tern_safetensors_find(file, t->name) != t) abort();
    }
    tern_safetensors_close(file);
    return 0;
}
