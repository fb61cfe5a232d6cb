/* registry.c - the only place that names backends: device names to backend and number. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "device/check_device.h"

extern const tern_backend tern_backend_cpu, tern_backend_cuda, tern_backend_emu;

/* `cuda` is always there, because plans may name GPUs that are not (cuda/cuda_absent.c); the
 * emulator belongs to builds with tests. */
static const tern_backend *const backends[] = {
    &tern_backend_cpu,
    &tern_backend_cuda,
#ifdef TERN_HAVE_EMU
    &tern_backend_emu,
#endif
};

const tern_backend *const *tern_backends(int *n)
{
    *n = (int)(sizeof backends / sizeof backends[0]);
    return backends;
}

int tern_device_list(tern_device_info *out, int cap)
{
    int n = 0;
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++)
        for (int i = 0; i < backends[b]->count(); i++, n++) {
            if (n >= cap || backends[b]->info(&out[n], i, NULL) == TERN_OK) continue;
            out[n] = (tern_device_info){0}; /* it is there; opening it says what is wrong */
            snprintf(out[n].name, sizeof out[n].name, "%s:%d", backends[b]->kind, i);
        }
    return n;
}

/* Splits "kind:index"; index 0 when absent. NULL for a name no backend answers to. A device has one
 * name: no leading zeros. */
static const tern_backend *find(int *index, const char *name)
{
    const char *colon = strchr(name, ':');
    const size_t kind_bytes = colon ? (size_t)(colon - name) : strlen(name);
    long number = 0;
    if (colon) {
        char *end;
        number = strtol(colon + 1, &end, 10);
        if (colon[1] < '0' || colon[1] > '9' || *end || number > 99) return NULL;
        if (colon[1] == '0' && colon[2]) return NULL;
    }
    for (size_t b = 0; b < sizeof backends / sizeof backends[0]; b++)
        if (strlen(backends[b]->kind) == kind_bytes &&
            memcmp(backends[b]->kind, name, kind_bytes) == 0) {
            *index = (int)number;
            return backends[b];
        }
    return NULL;
}

static const tern_backend *find_or_fail(int *index, const char *name, tern_error *err)
{
    const tern_backend *backend = find(index, name);
    if (!backend)
        tern_fail(
            err, TERN_E_USAGE,
            "there is no device '%.40s': use cpu, cpu:N or cuda:N; `tern devices` lists what this "
            "machine has",
            name);
    return backend;
}

/* The device behind "check:", or NULL. */
static const char *checked(const char *name)
{
    return strncmp(name, "check:", 6) == 0 ? name + 6 : NULL;
}

const tern_backend *tern_backend_find(const char *name, tern_error *err)
{
    int index;
    if (checked(name))
        return find_or_fail(&index, checked(name), err) ? &tern_backend_check : NULL;
    return find_or_fail(&index, name, err);
}

int tern_device_open(tern_device **out, const char *name, const tern_device_options *options,
                     tern_error *err)
{
    int index;
    if (checked(name)) return tern_check_open(out, checked(name), options, err);
    const tern_backend *backend = find_or_fail(&index, name, err);
    if (!backend) return TERN_E_USAGE;
    static const tern_device_options none;
    tern_device *device = NULL;
    int status = backend->open(&device, index, options ? options : &none, err);
    if (status != TERN_OK) return status;
    device->backend = backend;
    device->budget_bytes = options ? options->budget_bytes : 0;
    status = backend->self_test(device, err);
    if (status != TERN_OK) {
        backend->close(device);
        return status;
    }
    *out = device;
    return TERN_OK;
}
