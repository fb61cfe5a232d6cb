/* fuzz_config.c - any bytes as the config.json of a folder whose other files are good. */
#include "fuzz.h"
#include "hf_folder.h"
#include "tern/model.h"

static hf_folder folder;

static void remove_folder(void)
{
    hf_remove(&folder);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    if (!folder.path[0]) {
        const hf_options o = {0};
        folder = hf_make(&o);
        atexit(remove_folder);
    }
    FILE *file = hf_create(&folder, "config.json");
    if (fwrite(data, 1, n, file) != n) abort();
    fclose(file);
    tern_model *model = NULL;
    tern_error err = {0};
    check_status(tern_model_open(&model, folder.path, &err), &err);
    tern_model_close(model);
    return 0;
}
