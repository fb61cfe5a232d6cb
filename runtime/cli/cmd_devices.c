/* cmd_devices.c - `tern devices`: what this machine computes on. */
#include <jansson.h>
#include <stdio.h>

#include "base/fail.h"
#include "cli/console.h"

#define MAX_DEVICES 64

typedef struct devices_options {
    int json;
} devices_options;

static const cli_option options[] = {
    {"json", 0, CLI_FLAG, offsetof(devices_options, json), 0, 0, NULL, "a JSON object"},
};
static int devices(int argc, char **argv, tern_error *err);
const cli_command cli_devices = {"devices",
                                 "lists the devices of this machine and tests their kernels",
                                 "",
                                 options,
                                 (int)(sizeof options / sizeof options[0]),
                                 devices};

/* Opening runs the known answers; "" when they hold, else the sentence. */
static const char *test_device(const tern_device_info *info, tern_error *err)
{
    tern_device *device;
    if (tern_device_open(&device, info->name, NULL, err) != TERN_OK) return err->text;
    tern_device_close(device);
    return "";
}

/* "2 threads, ", or nothing for a GPU. */
static const char *threads_of(const tern_device_info *d, char text[32])
{
    text[0] = 0;
    if (d->n_threads > 0) snprintf(text, 32, "%d threads, ", d->n_threads);
    return text;
}

static json_t *device_json(const tern_device_info *d, const char *problem)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:I, s:I, s:s, s:s}", "name", d->name, "hardware",
                     d->hardware, "level", d->level, "threads", d->n_threads, "memory_bytes",
                     (json_int_t)d->memory_bytes, "free_bytes", (json_int_t)d->free_bytes,
                     "self_test", *problem ? "failed" : "passed", "problem", problem);
}

static int devices(int argc, char **argv, tern_error *err)
{
    devices_options o = {0};
    int status = cli_parse(&o, &cli_devices, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    tern_device_info list[MAX_DEVICES];
    const int found = tern_device_list(list, MAX_DEVICES);
    const int n = found < MAX_DEVICES ? found : MAX_DEVICES;
    json_t *array = json_array();
    for (int i = 0; i < n; i++) {
        tern_error problem = {0};
        char threads[32];
        const char *text = test_device(&list[i], &problem);
        if (problem.status != TERN_OK) status = tern_fail(err, problem.status, "%s", problem.text);
        json_array_append_new(array, device_json(&list[i], text));
        if (!o.json)
            printf("%-8s%s, level %s, %s%.1f of %.1f GiB free, self-test %s\n", list[i].name,
                   list[i].hardware, list[i].level, threads_of(&list[i], threads),
                   (double)list[i].free_bytes / 1073741824.0,
                   (double)list[i].memory_bytes / 1073741824.0, *text ? "failed" : "passed");
    }
    if (o.json) {
        json_t *object = json_pack("{s:O}", "devices", array);
        json_dumpf(object, stdout, JSON_INDENT(2));
        printf("\n");
        json_decref(object);
    }
    json_decref(array);
    return status;
}
