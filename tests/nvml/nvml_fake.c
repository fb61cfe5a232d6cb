/* nvml_fake.c - a libnvidia-ml.so.1 for test_energy.c: one GPU at 0000:3b:00.0 that consumes a
 * joule between two readings, one at 0000:5e:00.0 without a counter. Counts who is still inside. */
#include <string.h>

int nvmlInit_v2(void);
int nvmlShutdown(void);
const char *nvmlErrorString(int code);
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device);
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj);
int nvml_fake_inside(void);

static int inside;
static unsigned long long total_mj = 123456789012;
static char counting, silent;

int nvmlInit_v2(void)
{
    inside++;
    return 0;
}

int nvmlShutdown(void)
{
    inside--;
    return 0;
}

int nvml_fake_inside(void)
{
    return inside;
}

const char *nvmlErrorString(int code)
{
    return code == 3 ? "Not Supported" : "Not Found";
}

int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **device)
{
    if (strcmp(id, "0000:3b:00.0") != 0 && strcmp(id, "0000:5e:00.0") != 0) return 6;
    *device = id[5] == '3' ? &counting : &silent;
    return 0;
}

int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *mj)
{
    if (device != &counting) return 3;
    *mj = total_mj += 1000;
    return 0;
}
