/* energy.c - the few functions of NVML that energy needs, declared here from NVIDIA's NVML API
 * reference and looked up in the driver's libnvidia-ml.so.1. */
#include "cuda/energy.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/memory.h"

#define LIBRARY "libnvidia-ml.so.1"
#define NVML_SUCCESS 0

typedef struct nvml_device *nvml_device;

struct tern_energy {
    void *library;
    int (*init)(void);
    int (*shutdown)(void);
    const char *(*error_string)(int code);
    int (*by_pci_bus_id)(const char *id, nvml_device *device);
    int (*total_energy)(nvml_device device, unsigned long long *mj);
    int initialised;
    nvml_device device;
    char id[32];
};

/* Looks one function up into *to, whose type is a pointer to function. */
static int look_up(void *to, const tern_energy *e, const char *name, tern_error *err)
{
    void *symbol = dlsym(e->library, name);
    if (!symbol)
        return tern_fail(err, TERN_E_DEVICE, "the energy of a GPU is not known: %s has no %s",
                         LIBRARY, name);
    memcpy(to, &symbol, sizeof symbol);
    return TERN_OK;
}

static int load(tern_energy *e, tern_error *err)
{
    e->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!e->library)
        return tern_fail(err, TERN_E_DEVICE,
                         "the energy of a GPU is not known: there is no %s, which comes with "
                         "NVIDIA's driver", LIBRARY);
    const struct {
        void *to;
        const char *name;
    } functions[] = {
        {&e->init, "nvmlInit_v2"},
        {&e->shutdown, "nvmlShutdown"},
        {&e->error_string, "nvmlErrorString"},
        {&e->by_pci_bus_id, "nvmlDeviceGetHandleByPciBusId_v2"},
        {&e->total_energy, "nvmlDeviceGetTotalEnergyConsumption"},
    };
    for (size_t i = 0; i < sizeof functions / sizeof functions[0]; i++) {
        const int status = look_up(functions[i].to, e, functions[i].name, err);
        if (status != TERN_OK) return status;
    }
    return TERN_OK;
}

/* The sentence of an NVML code. */
static int check(const tern_energy *e, int code, const char *what, tern_error *err)
{
    if (code == NVML_SUCCESS) return TERN_OK;
    return tern_fail(err, TERN_E_DEVICE, "the energy of the GPU at %s is not known: %s: %s", e->id,
                     what, e->error_string(code));
}

static int connect(tern_energy *e, tern_error *err)
{
    int status = load(e, err);
    if (status != TERN_OK) return status;
    status = check(e, e->init(), "NVML does not start", err);
    if (status != TERN_OK) return status;
    e->initialised = 1;
    return check(e, e->by_pci_bus_id(e->id, &e->device), "NVML does not find it", err);
}

int tern_energy_open(tern_energy **out, const char *pci_bus_id, tern_error *err)
{
    tern_energy *e;
    int status = tern_alloc(&e, 1, sizeof *e, "the energy counter", err);
    if (status != TERN_OK) return status;
    if (strlen(pci_bus_id) >= sizeof e->id)
        status = tern_fail(err, TERN_E_USAGE, "'%.40s' is no PCI bus id: use one like 0000:3b:00.0",
                           pci_bus_id);
    uint64_t mj;
    if (status == TERN_OK) {
        strcpy(e->id, pci_bus_id);
        status = connect(e, err);
    }
    if (status == TERN_OK) status = tern_energy_read(&mj, e, err);
    if (status != TERN_OK) {
        tern_energy_close(e);
        return status;
    }
    *out = e;
    return TERN_OK;
}

int tern_energy_read(uint64_t *mj, tern_energy *e, tern_error *err)
{
    unsigned long long total = 0;
    const int status = check(e, e->total_energy(e->device, &total), "it has no counter", err);
    if (status == TERN_OK) *mj = total;
    return status;
}

void tern_energy_close(tern_energy *e)
{
    if (!e) return;
    if (e->initialised) e->shutdown();
    if (e->library) dlclose(e->library);
    free(e);
}
