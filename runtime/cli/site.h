/* site.h - the devices of a command line as the planner sees them, and the plan that a command runs
 * with: by equal runs of layers, by the planner (--plan auto), or from a file (--plan FILE). */
#ifndef TERN_CLI_SITE_H
#define TERN_CLI_SITE_H

#include "cli/options.h"
#include "plan/planner.h"
#include "tern/engine.h"

typedef struct cli_site_options {
    const char *devices;  /* "cpu,profile:rtx4060-laptop"; NULL: cpu */
    const char *profiles; /* file of `tern calibrate`; NULL: the person's own, if it is there */
    const char *memory, *reserve;
    int n_threads;
} cli_site_options;

/* `note` is a sentence about profiles that are not what one would wish; "" without one. */
typedef struct cli_site {
    tern_site site;
    tern_site_device devices[TERN_PLAN_MAX_DEVICES];
    char note[300];
} cli_site;

/* Profiles and budgets of the devices. A device of this machine has the profile that
 * `tern calibrate` wrote, or a careful guess; its budget is what is free. A profile on its own
 * stands for a device that is not here; its budget is 15/16 of its memory. */
int cli_site_open(cli_site *out, const cli_site_options *options, tern_error *err);

/* Where `tern calibrate` writes and plans read: $XDG_CONFIG_HOME or $HOME/.config, then
 * tern/profiles.json. TERN_E_USAGE without either. */
int cli_profiles_path(char out[400], tern_error *err);

/* Reads a whole file; the caller frees the text. TERN_E_USAGE when it is not there. */
int cli_read_file(char **text, size_t *bytes, const char *path, tern_error *err);

/* Writes a file as a whole or not at all. */
int cli_write_file(const char *path, const char *text, tern_error *err);

/* A plan and, unless it is by equal runs, what it promises. */
typedef struct cli_plan {
    tern_plan plan;
    int predicted; /* 1: site and goal are there */
    cli_site site;
    tern_goal goal;
} cli_plan;

/* By the options' --plan. A plan file brings its own workload; it must serve `workload` too. */
int cli_plan_make(cli_plan *out, const tern_model_config *config, const cli_model_options *options,
                  const tern_workload *workload, tern_error *err);

/* The plan's bytes and forecast; one by equal runs gets its site now, and promises from then on. */
int cli_plan_report(tern_report *out, cli_plan *plan, const tern_model_config *config,
                    const cli_model_options *options, tern_error *err);

/* Says the plan in one line on standard error, when it promises something. */
void cli_plan_say(const cli_plan *plan, const tern_model_config *config);

#endif
