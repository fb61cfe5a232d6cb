/* site.c - command lines to sites and plans. */
#include "cli/site.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fail.h"
#include "base/files.h"

#define MAX_FILE_BYTES ((size_t)4 << 20)

/* ---- files ---------------------------------------------------------------------------------- */

int cli_profiles_path(char out[400], tern_error *err)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    const int has_config = config && *config;
    if (!has_config && (!home || !*home))
        return tern_fail(err, TERN_E_USAGE,
                         "neither XDG_CONFIG_HOME nor HOME says where profiles are: name a file");
    const int n = has_config ? snprintf(out, 400, "%s/tern/profiles.json", config)
                             : snprintf(out, 400, "%s/.config/tern/profiles.json", home);
    return n < 400
               ? TERN_OK
               : tern_fail(err, TERN_E_USAGE, "the path of the profiles is too long: name a file");
}

int cli_read_file(char **text, size_t *bytes, const char *path, tern_error *err)
{
    FILE *stream = fopen(path, "re");
    if (!stream)
        return tern_fail(err, TERN_E_USAGE, "cannot open '%.200s': %s", path, strerror(errno));
    const int status = tern_stream_read(text, bytes, stream, path, MAX_FILE_BYTES, err);
    fclose(stream);
    return status;
}

int cli_write_file(const char *path, const char *text, tern_error *err)
{
    char part[512];
    if (snprintf(part, sizeof part, "%s.part", path) >= (int)sizeof part)
        return tern_fail(err, TERN_E_USAGE, "the path '%.100s...' is too long", path);
    FILE *to = fopen(part, "we");
    if (!to) return tern_fail(err, TERN_E_IO, "cannot write '%.200s': %s", part, strerror(errno));
    const int bad = fputs(text, to) < 0 || fputc('\n', to) == EOF;
    if (fclose(to) != 0 || bad || rename(part, path) != 0) {
        const int reason = errno;
        unlink(part);
        return tern_fail(err, TERN_E_IO, "cannot write '%.200s': %s", path, strerror(reason));
    }
    return TERN_OK;
}

/* ---- devices -------------------------------------------------------------------------------- */

/* The measured profiles of this machine. */
typedef struct machine {
    tern_profile profiles[TERN_PROFILE_MAX_FILE];
    int n, named;      /* named: the person gave the file */
    tern_error unread; /* of another file: why it does not count */
} machine;

static int read_machine(machine *m, const char *file, tern_error *err)
{
    char path[400], *text;
    size_t bytes;
    *m = (machine){.named = file != NULL};
    if (!file) {
        if (cli_profiles_path(path, NULL) != TERN_OK || access(path, R_OK) != 0) return TERN_OK;
        file = path;
    }
    int status = cli_read_file(&text, &bytes, file, err);
    if (status != TERN_OK) return status;
    tern_error *why = m->named ? err : &m->unread;
    status = tern_profiles_parse(m->profiles, TERN_PROFILE_MAX_FILE, &m->n, text, bytes, file, why);
    free(text);
    return m->named ? status : TERN_OK;
}

/* Measured on this device with as many threads; TERN_E_USAGE when a file was named that holds
 * none. */
static int find_measured(tern_profile *out, cli_site *site, const machine *m,
                         const tern_device_info *info, tern_error *err)
{
    const tern_profile *other = NULL;
    for (int i = 0; i < m->n; i++) {
        const tern_profile *p = &m->profiles[i];
        if (strcmp(p->name, info->name) != 0) continue;
        other = p;
        if (strcmp(p->hardware, info->hardware) != 0 || strcmp(p->level, info->level) != 0 ||
            p->n_threads != info->n_threads)
            continue;
        *out = *p;
        return TERN_OK;
    }
    if (m->named && other)
        return tern_fail(err, TERN_E_USAGE,
                         "the profile of %s was measured on '%s' (%s, %d threads), this is '%s' "
                         "(%s, %d threads): run `tern calibrate`",
                         info->name, other->hardware, other->level, other->n_threads,
                         info->hardware, info->level, info->n_threads);
    if (m->named)
        return tern_fail(err, TERN_E_USAGE,
                         "the file of profiles has none of %s: run `tern "
                         "calibrate`",
                         info->name);
    if (m->unread.status != TERN_OK)
        snprintf(site->note, sizeof site->note, "%.250s; until then speeds are a guess",
                 m->unread.text);
    else
        snprintf(site->note, sizeof site->note,
                 "%s was never calibrated (%s, %d threads): its speeds are a guess until you run "
                 "`tern calibrate`",
                 info->name, info->level, info->n_threads);
    return tern_profile_library(out, "generic", err);
}

/* A device of this machine. */
static int add_present(cli_site *out, const char *name, const machine *m, int n_threads,
                       tern_error *err)
{
    tern_site_device *device = &out->devices[out->site.n];
    const tern_backend *backend = tern_backend_find(name, err);
    if (!backend) return TERN_E_USAGE;
    if (!backend->info)
        return tern_fail(err, TERN_E_USAGE,
                         "'%s' compares two devices and has no speed to plan with: name the device "
                         "alone",
                         name);
    const char *colon = strchr(name, ':');
    tern_device_info info;
    int status = backend->info(&info, colon ? atoi(colon + 1) : 0, err);
    if (status != TERN_OK) return status;
    if (n_threads) info.n_threads = n_threads;
    status = find_measured(&device->profile, out, m, &info, err);
    if (status != TERN_OK) return status;
    memcpy(device->profile.hardware, info.hardware, sizeof device->profile.hardware);
    memcpy(device->name, info.name, sizeof device->name);
    device->budget_bytes = info.free_bytes;
    return TERN_OK;
}

/* A profile that stands for a device that is not here: cuda:0, cuda:1, ... in their order. */
static int add_absent(cli_site *out, const char *profile, tern_error *err)
{
    tern_site_device *device = &out->devices[out->site.n];
    const int status = tern_profile_library(&device->profile, profile, err);
    if (status != TERN_OK) return status;
    char name[16];
    int number = 0;
    do snprintf(name, sizeof name, "%.7s:%d", device->profile.kind, number++ % 100);
    while (tern_site_find(&out->site, name) >= 0);
    memcpy(device->name, name, sizeof name);
    device->absent = 1;
    device->budget_bytes = device->profile.memory_bytes / 16 * 15;
    return TERN_OK;
}

static int add_device(cli_site *out, const char *text, size_t n, const machine *m, int n_threads,
                      tern_error *err)
{
    char name[64];
    if (n == 0 || n >= sizeof name || out->site.n == TERN_PLAN_MAX_DEVICES)
        return tern_fail(err, TERN_E_USAGE,
                         "'%.60s' is no list of at most %d devices: write cpu,profile:rtx4090",
                         text, TERN_PLAN_MAX_DEVICES);
    snprintf(name, sizeof name, "%.*s", (int)n, text);
    const int absent = strncmp(name, "profile:", 8) == 0;
    const int status =
        absent ? add_absent(out, name + 8, err) : add_present(out, name, m, n_threads, err);
    if (status != TERN_OK) return status;
    if (tern_site_find(&out->site, out->devices[out->site.n].name) >= 0)
        return tern_fail(err, TERN_E_USAGE, "the device %s stands twice in the list",
                         out->devices[out->site.n].name);
    out->site.n++;
    return TERN_OK;
}

int cli_site_open(cli_site *out, const cli_site_options *o, tern_error *err)
{
    machine m;
    *out = (cli_site){.site.devices = out->devices};
    int status = read_machine(&m, o->profiles, err);
    for (const char *at = o->devices ? o->devices : "cpu"; status == TERN_OK;) {
        const size_t n = strcspn(at, ",");
        status = add_device(out, at, n, &m, o->n_threads, err);
        if (!at[n]) break;
        at += n + 1;
    }
    if (status != TERN_OK) return status;
    out->site.host = out->site.n - 1;
    for (int i = out->site.n - 1; i >= 0; i--)
        if (strncmp(out->devices[i].name, "cpu:", 4) == 0) out->site.host = i;
    status = tern_site_memory(&out->site, o->memory, 0, err);
    return status == TERN_OK ? tern_site_memory(&out->site, o->reserve, 1, err) : status;
}

/* ---- the plan of a command ------------------------------------------------------------------ */

static int make_auto(cli_plan *out, const tern_model_config *config, const char *devices,
                     const tern_workload *workload, tern_error *err)
{
    tern_pins pins;
    memset(&pins, -1, sizeof pins);
    for (int d = 0; d < out->site.site.n; d++)
        if (out->site.devices[d].absent)
            return tern_fail(
                err, TERN_E_USAGE,
                "'%.60s' names a profile: only `tern plan` works with hardware that is "
                "not here",
                devices);
    return tern_plan_search(&out->plan, config, workload, &out->site.site, &pins, &out->goal, err);
}

/* Every device of the file must have been there when it was made. */
static int check_present(const tern_plan_file *file, const char *path, tern_error *err)
{
    for (int d = 0; d < file->plan.n_devices; d++)
        if (file->absent[d])
            return tern_fail(err, TERN_E_USAGE,
                             "'%.100s' plans with %s (%s), which was not there: plan again with "
                             "the devices of this machine",
                             path, file->plan.devices[d], file->hardware[d]);
    return TERN_OK;
}

/* And be the one of this machine. */
static int check_machine(const tern_plan_file *file, const tern_site *site, const char *path,
                         tern_error *err)
{
    for (int d = 0; d < file->plan.n_devices; d++) {
        const tern_profile *here = &site->devices[d].profile;
        if (strcmp(file->hardware[d], here->hardware) != 0)
            return tern_fail(err, TERN_E_USAGE,
                             "'%.100s' was made on another machine ('%s', this is '%s'): plan "
                             "again",
                             path, file->hardware[d], here->hardware);
    }
    return TERN_OK;
}

static int read_plan(tern_plan_file *file, const char *path, const tern_model_config *config,
                     tern_error *err)
{
    char *text;
    size_t bytes;
    int status = cli_read_file(&text, &bytes, path, err);
    if (status != TERN_OK) return status;
    status = tern_plan_read(file, text, bytes, path, config, err);
    free(text);
    return status;
}

/* The file has the last word on places, types and steps; what the command line says else would be
 * ignored. */
static int serves(const tern_plan *plan, const tern_workload *w, const cli_model_options *o,
                  tern_error *err)
{
    const tern_workload *has = &plan->workload;
    const char *path = o->plan;
    if (o->device)
        return tern_fail(err, TERN_E_USAGE,
                         "'%.100s' says which devices to use: leave -d out, or plan again", path);
    if ((o->kv && w->kv_type != has->kv_type) || (o->head && w->head_type != has->head_type))
        return tern_fail(err, TERN_E_USAGE,
                         "'%.100s' is for KV %s and head %s: leave --kv and --head out, or plan "
                         "again with them",
                         path, has->kv_type == TERN_KV_I8 ? "i8" : "f16",
                         has->head_type == TERN_HEAD_I8 ? "i8" : "i16");
    if (w->n_ctx > has->n_ctx || w->n_seq > has->n_seq)
        return tern_fail(err, TERN_E_USAGE,
                         "'%.100s' is for a context of %d and %d requests, but %d and %d are "
                         "needed: plan again with -c and --seqs",
                         path, has->n_ctx, has->n_seq, w->n_ctx, w->n_seq);
    if (w->n_tok && w->n_tok != has->n_tok)
        return tern_fail(err, TERN_E_USAGE,
                         "'%.100s' is for steps of %d tokens, not %d: leave the number out, or "
                         "plan again with --chunk",
                         path, has->n_tok, w->n_tok);
    return TERN_OK;
}

static int make_from_file(cli_plan *out, const tern_model_config *config,
                          const cli_model_options *o, const tern_workload *workload,
                          tern_error *err)
{
    tern_plan_file file;
    int status = read_plan(&file, o->plan, config, err);
    if (status == TERN_OK) status = check_present(&file, o->plan, err);
    if (status != TERN_OK) return status;
    char devices[TERN_PLAN_MAX_DEVICES * 17] = "";
    for (int d = 0; d < file.plan.n_devices; d++) {
        const size_t used = strlen(devices);
        snprintf(devices + used, sizeof devices - used, "%s%s", d ? "," : "", file.plan.devices[d]);
    }
    const cli_site_options site = {.devices = devices, .n_threads = o->n_threads};
    status = cli_site_open(&out->site, &site, err);
    if (status == TERN_OK) status = check_machine(&file, &out->site.site, o->plan, err);
    if (status == TERN_OK) status = serves(&file.plan, workload, o, err);
    out->plan = file.plan;
    out->goal = file.goal;
    return status;
}

int cli_plan_make(cli_plan *out, const tern_model_config *config, const cli_model_options *o,
                  const tern_workload *workload, tern_error *err)
{
    const char *devices = o->device ? o->device : "cpu";
    out->predicted = o->plan != NULL;
    out->goal = (tern_goal){0};
    if (!o->plan) return tern_plan_layers(&out->plan, config, devices, workload, err);
    if (strcmp(o->plan, "auto") != 0) return make_from_file(out, config, o, workload, err);
    const cli_site_options site = {.devices = devices, .n_threads = o->n_threads};
    const int status = cli_site_open(&out->site, &site, err);
    return status == TERN_OK ? make_auto(out, config, devices, workload, err) : status;
}

/* The report of a plan whose site is open. */
static int report_of(tern_report *out, const cli_plan *plan, const tern_model_config *config,
                     tern_error *err)
{
    *out = (tern_report){.config = config,
                         .site = &plan->site.site,
                         .plan = plan->plan,
                         .goal = tern_goal_fill(&plan->goal, &plan->plan.workload)};
    return tern_report_fill(out, err);
}

int cli_plan_report(tern_report *out, cli_plan *plan, const tern_model_config *config,
                    const cli_model_options *o, tern_error *err)
{
    if (!plan->predicted) {
        const cli_site_options site = {.devices = o->device ? o->device : "cpu",
                                       .n_threads = o->n_threads};
        const int status = cli_site_open(&plan->site, &site, err);
        if (status != TERN_OK) return status;
        plan->predicted = 1;
    }
    return report_of(out, plan, config, err);
}

void cli_plan_say(const cli_plan *plan, const tern_model_config *config)
{
    tern_report report;
    char line[TERN_PLAN_LINE_BYTES];
    if (!plan->predicted) return;
    if (plan->site.note[0]) fprintf(stderr, "tern: %s\n", plan->site.note);
    if (report_of(&report, plan, config, NULL) == TERN_OK)
        fprintf(stderr, "plan: %s\n", tern_plan_line(line, &report));
}
