/* bench_meter.c - what the device under test can do at most, and what it consumes: the first device
 * of the plan is asked. A CPU is measured by its own meter with as many threads as the engine has;
 * a GPU through a handle of its own, which shares nothing with the engine's. */
#include "cli/bench.h"

int cli_bench_meter_open(bench_rig *rig, tern_error *err)
{
    const tern_device_info *info = tern_engine_device(rig->engine, 0);
    if (info->n_threads > 0)
        return tern_cpu_meter_create(&rig->meter, info->n_threads, TERN_METER_BYTES, err);
    return tern_device_open(&rig->gpu, info->name, NULL, err);
}

void cli_bench_meter_close(bench_rig *rig)
{
    tern_cpu_meter_destroy(rig->meter);
    tern_device_close(rig->gpu);
}

const char *cli_bench_meter_name(const bench_rig *rig)
{
    return rig->gpu ? tern_engine_device(rig->engine, 0)->level : tern_cpu_meter_name(rig->meter);
}

int cli_bench_rates(tern_rates *out, const bench_rig *rig, tern_error *err)
{
    if (rig->gpu) return tern_device_rates(out, rig->gpu, err);
    const tern_cpu_limits limits = tern_cpu_meter_run(rig->meter);
    *out = (tern_rates){limits.read_bytes, limits.int8_mac, limits.f32_fma};
    return TERN_OK;
}

uint64_t cli_bench_energy(const bench_rig *rig)
{
    uint64_t mj = 0;
    return rig->gpu && tern_device_energy(&mj, rig->gpu, NULL) == TERN_OK ? mj : 0;
}
