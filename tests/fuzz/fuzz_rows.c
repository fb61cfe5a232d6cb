/* fuzz_rows.c - any bytes as the data of a tensor of any type, layout and shape: every row is read,
 * from memory that holds the tensor and not a byte more. */
#include "format/tensor_type.h"
#include "fuzz.h"

static const uint32_t numbers[] = {0, 1, 2, 8, 12, 14, 30, 34, 35, 36, 38, 39, 134, 135};
enum { HEAD = 8 };

static void read_all(const tern_tensor_type *type, const tern_packed *t, size_t bytes)
{
    float *values = calloc(t->k, sizeof *values), scale;
    uint8_t *codes = calloc(t->k, 1);
    if (!values || !codes) abort();
    for (size_t row = 0; row < t->n_out; row++) {
        if (type->floats) {
            type->floats(values, t->data + row * (bytes / t->n_out), t->k);
            continue;
        }
        if (type->codes(codes, &scale, t, row)) continue; /* refused */
        for (size_t i = 0; i < t->k; i++)
            if (codes[i] > 2) abort();
    }
    free(values);
    free(codes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (n < HEAD) return 0;
    const tern_tensor_type *type =
        tern_tensor_type_find(numbers[data[0] % (sizeof numbers / sizeof numbers[0])]);
    tern_packed t = {.k = (size_t)data[1] * 4 + 4,
                     .n_out = (size_t)data[2] + 1,
                     .i2s = (tern_i2s_layout)(data[3] % 4)};
    const tern_tl_config config = {{{(int)t.n_out, (int)t.k, data[4], data[5] * 4, data[6]}}, 1};
    tern_tl_find(&t.tl, &config, type->number == TERN_GGML_TL2, t.n_out, t.k);
    uint64_t bytes;
    if (!tern_tensor_type_bytes(&bytes, type, t.k, t.n_out)) return 0;
    uint8_t *copy = calloc(bytes, 1);
    if (!copy) abort();
    for (size_t i = 0; i < bytes && n > HEAD; i++) copy[i] = data[HEAD + i % (n - HEAD)];
    t.data = copy;
    read_all(type, &t, bytes);
    free(copy);
    return 0;
}
