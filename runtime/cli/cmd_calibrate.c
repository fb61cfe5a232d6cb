/* cmd_calibrate.c - `tern calibrate`: measures a device in about 20 seconds and writes its profile,
 * from which `tern plan` predicts. Every point is measured once in each of three rounds and its
 * median kept, as `tern bench` keeps medians, so that a change of the machine's load does not fall
 * on one curve. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/memory.h"
#include "cli/calibrate.h"
#include "cli/console.h"

#ifndef TERN_COMMIT
#define TERN_COMMIT ""
#endif

#define ROUNDS 3
#define MAX_POINTS 160

typedef struct calibrate_options {
    const char *device, *out;
    int n_threads, json;
} calibrate_options;

#define AT(member) offsetof(calibrate_options, member)
static const cli_option options[] = {
    {"device", 'd', CLI_TEXT, AT(device), 0, 0, "LIST", "devices to measure (default cpu)"},
    {"threads", 't', CLI_INT, AT(n_threads), 1, 1024, "N",
     "compute threads of a CPU device (default: one per core)"},
    {"output", 'o', CLI_TEXT, AT(out), 0, 0, "FILE",
     "file of profiles to write (default: where plans look)"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "the file's text on standard output too"},
};
static int calibrate(int argc, char **argv, tern_error *err);
const cli_command cli_calibrate = {"calibrate",
                                   "measures this machine for the planner, about 20 s a device",
                                   "",
                                   options,
                                   (int)(sizeof options / sizeof options[0]),
                                   calibrate};

static void describe(tern_profile *p, const tern_device_info *info, const char *kind)
{
    struct utsname system;
    *p = (tern_profile){.n_threads = info->n_threads,
                        .memory_bytes = info->memory_bytes,
                        .reach_read = 1,
                        .reach_compute = 1};
    snprintf(p->name, sizeof p->name, "%s", info->name);
    snprintf(p->kind, sizeof p->kind, "%.7s", kind);
    snprintf(p->hardware, sizeof p->hardware, "%s", info->hardware);
    snprintf(p->level, sizeof p->level, "%s", info->level);
    snprintf(p->build, sizeof p->build, "tern %s %.40s", tern_version(), TERN_COMMIT);
    if (uname(&system) == 0)
        snprintf(p->driver, sizeof p->driver, "%.8s %.20s", system.sysname, system.release);
}

/* The storage that the device gives ternary weights. */
static int name_storage(tern_profile *p, const char *device, tern_error *err)
{
    const tern_weight_desc desc = {.k = CAL_D, .n_out = CAL_D};
    const tern_backend *backend = tern_backend_find(device, err);
    tern_weight_layout layout;
    const int status = backend ? tern_weight_layout_of(&layout, backend, &desc, err) : TERN_E_USAGE;
    if (status == TERN_OK) snprintf(p->storage, sizeof p->storage, "%s", layout.name);
    return status;
}

/* All points, round by round. */
static int measure_points(tern_profile *p, cal_rig *rig, const tern_progress *progress,
                          tern_error *err)
{
    double samples[MAX_POINTS][ROUNDS];
    const int n = cli_cal_n_points() < MAX_POINTS ? cli_cal_n_points() : MAX_POINTS;
    tern_curve_id id;
    double at;
    int status = TERN_OK;
    for (int i = 0; i < n * ROUNDS && status == TERN_OK; i++) {
        status = cli_cal_point(&samples[i % n][i / n], &id, &at, rig, i % n, err);
        if (status == TERN_OK)
            status = tern_progress_report(progress, "the calibration", (uint64_t)i + 1,
                                          (uint64_t)n * ROUNDS, err);
        if (status != TERN_OK || i < n * (ROUNDS - 1)) continue;
        tern_curve *curve = &p->curves[id];
        curve->at[curve->n] = at;
        curve->ns[curve->n++] = cli_cal_median(samples[i % n], ROUNDS);
    }
    return status;
}

static int measure(tern_profile *p, cal_rig *rig, const char *device, tern_error *err)
{
    const tern_progress progress = cli_progress();
    char kind[16];
    snprintf(kind, sizeof kind, "%.*s", (int)strcspn(device, ":"), device);
    describe(p, tern_device_describe(rig->device), kind);
    int status = name_storage(p, device, err);
    if (status == TERN_OK) status = cli_cal_latency(p, rig, err);
    if (status == TERN_OK) status = cli_cal_rates(p, rig, err);
    if (status == TERN_OK) status = measure_points(p, rig, &progress, err);
    return status == TERN_OK ? cli_cal_sustained(p, rig, err) : status;
}

static int measure_device(tern_profile *out, const char *device, int n_threads, tern_error *err)
{
    const tern_backend *backend = tern_backend_find(device, err);
    if (!backend) return TERN_E_USAGE;
    if (!backend->info)
        return tern_fail(err, TERN_E_USAGE,
                         "'%s' compares two devices and has no speed of its own: name the device "
                         "alone",
                         device);
    cal_rig *rig;
    int status = tern_alloc(&rig, 1, sizeof *rig, "the calibration", err);
    if (status != TERN_OK) return status;
    const tern_progress progress = cli_progress();
    status = cli_cal_rig_open(rig, device, n_threads, &progress, err);
    if (status == TERN_OK) status = measure(out, rig, device, err);
    cli_progress_end();
    cli_cal_rig_close(rig);
    free(rig);
    return status;
}

/* The profiles of the file that are not of this device with as many threads stay. A file that
 * cannot be read is replaced, unless the person named it. */
static int merge(tern_profile *list, int *n, const char *path, int named, tern_error *err)
{
    const tern_profile mine = list[0];
    char *text;
    size_t bytes;
    int old;
    if (access(path, R_OK) != 0) return TERN_OK;
    int status = cli_read_file(&text, &bytes, path, err);
    if (status != TERN_OK) return status;
    status = tern_profiles_parse(list + 1, TERN_PROFILE_MAX_FILE - 1, &old, text, bytes, path, err);
    free(text);
    if (status != TERN_OK) return named ? status : TERN_OK;
    for (int i = 1; i <= old; i++)
        if (strcmp(list[i].name, mine.name) != 0 || list[i].n_threads != mine.n_threads)
            list[(*n)++] = list[i];
    return TERN_OK;
}

/* Creates the folders of a path. */
static int make_folders(const char *path, tern_error *err)
{
    char part[512];
    snprintf(part, sizeof part, "%s", path);
    for (char *at = strchr(part + 1, '/'); at; at = strchr(at + 1, '/')) {
        *at = 0;
        if (mkdir(part, 0777) != 0 && errno != EEXIST)
            return tern_fail(err, TERN_E_IO, "cannot make the folder '%.200s': %s", part,
                             strerror(errno));
        *at = '/';
    }
    return TERN_OK;
}

static void print_profile(const tern_profile *p)
{
    const tern_curve *linear = &p->curves[TERN_CURVE_LINEAR];
    fprintf(stderr,
            "%s: %s, level %s, %d threads\n"
            "  limits     read %.1f GB/s, int8 %.0f GMAC/s, f32 %.0f GFMA/s\n"
            "  weights    1 token %.1f GB/s, %.0f tokens %.0f GMAC/s (%s)\n"
            "  latency    %.1f us an operation, %.1f us a run\n"
            "  copies     %.1f GB/s in, %.1f GB/s out; %.0f %% of the read rate beside them\n"
            "  sustained  %.0f %% of the first second\n",
            p->name, p->hardware, p->level, p->n_threads, p->read_bytes * 1e-9, p->int8_mac * 1e-9,
            p->f32_fma * 1e-9, 0.25 / linear->ns[0], linear->at[linear->n - 1],
            linear->at[linear->n - 1] / linear->ns[linear->n - 1], p->storage, p->op_ns * 1e-3,
            p->run_ns * 1e-3, p->to_bytes * 1e-9, p->from_bytes * 1e-9, 100 * p->while_copies,
            100 * p->sustained);
}

static int calibrate_one(const calibrate_options *o, const char *device, tern_error *err)
{
    tern_profile list[TERN_PROFILE_MAX_FILE + 1];
    char path[400];
    int status = TERN_OK, n = 1;
    if (o->out)
        snprintf(path, sizeof path, "%s", o->out);
    else
        status = cli_profiles_path(path, err);
    if (status == TERN_OK && !o->out) status = make_folders(path, err); /* before the work */
    if (status == TERN_OK) status = measure_device(&list[0], device, o->n_threads, err);
    if (status == TERN_OK) status = merge(list, &n, path, o->out != NULL, err);
    char *text = NULL;
    if (status == TERN_OK) status = tern_profiles_write(&text, list, n, err);
    if (status == TERN_OK) status = cli_write_file(path, text, err);
    if (status == TERN_OK) {
        print_profile(&list[0]);
        fprintf(stderr, "written to '%s'\n", path);
        if (o->json) puts(text);
    }
    free(text);
    return status;
}

static int calibrate(int argc, char **argv, tern_error *err)
{
    calibrate_options o = {.device = "cpu"};
    int status = cli_parse(&o, &cli_calibrate, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    cli_catch_interrupt();
    for (const char *at = o.device; status == TERN_OK;) {
        char name[16];
        const size_t n = strcspn(at, ",");
        if (n == 0 || n >= sizeof name)
            return tern_fail(err, TERN_E_USAGE, "'%.60s' is no list of devices", o.device);
        snprintf(name, sizeof name, "%.*s", (int)n, at);
        status = calibrate_one(&o, name, err);
        if (!at[n]) break;
        at += n + 1;
    }
    return status;
}
