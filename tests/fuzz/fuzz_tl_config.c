/* fuzz_tl_config.c - any bytes as a configuration of tiles. */
#include "format/tl.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = calloc(n + 1, 1);
    if (!text) abort();
    memcpy(text, data, n);
    tern_tl_config config;
    tern_error err = {0};
    const int status = tern_tl_config_parse(&config, text, "fuzz", &err);
    check_status(status, &err);
    for (int i = 0; status == TERN_OK && i < config.n; i++) {
        tern_tl_shape shape;
        const size_t n_out = (size_t)config.shape[i].n_out, k = (size_t)config.shape[i].k;
        tern_tl_find(&shape, &config, i % 2, n_out, k);
    }
    free(text);
    return 0;
}
