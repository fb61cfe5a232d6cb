/* bench_gemm.c - `tern bench --gemm`: W1.58A8 beside cuBLAS. The comparison is a program of its own
 * (bench/gemm_main.cu), since only it may be linked with cuBLAS; this program becomes it. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "cli/bench.h"

#define PATH_BYTES 4096

/* `name` in the folder of this program. */
static int beside_us(char path[PATH_BYTES], const char *name, tern_error *err)
{
    const ssize_t n = readlink("/proc/self/exe", path, PATH_BYTES - 1);
    char *slash = NULL;
    if (n > 0) {
        path[n] = 0;
        slash = strrchr(path, '/');
    }
    const size_t room = slash ? (size_t)(path + PATH_BYTES - slash) - 1 : 0;
    if (!slash || strlen(name) >= room)
        return tern_fail(err, TERN_E_IO, "cannot tell where this program lies, to find %s", name);
    memcpy(slash + 1, name, strlen(name) + 1);
    return TERN_OK;
}

int cli_bench_gemm(const bench_gemm_options *o, tern_error *err)
{
    static const char *const forms[] = {"markdown", "csv", "json"};
    const int emulated = strncmp(o->device, "emu:", 4) == 0;
    if (!emulated && strncmp(o->device, "cuda:", 5) != 0)
        return tern_fail(err, TERN_E_USAGE,
                         "--gemm compares with cuBLAS, and --device is '%.40s': use cuda:N",
                         o->device);
    char path[PATH_BYTES], samples[16];
    const char *name = emulated ? "tern-bench-gemm-emu" : "tern-bench-gemm";
    const int status = beside_us(path, name, err);
    if (status != TERN_OK) return status;
    snprintf(samples, sizeof samples, "%d", o->n_samples);
    execl(path, name, o->device, o->presets, o->tokens, samples, forms[o->form], (char *)NULL);
    if (errno == ENOENT)
        return tern_fail(err, TERN_E_DEVICE,
                         "%s: there is no %s beside this program: build where the CUDA toolkit has "
                         "cuBLASLt", o->device, name);
    return tern_fail(err, TERN_E_IO, "cannot run '%.400s': %s", path, strerror(errno));
}
