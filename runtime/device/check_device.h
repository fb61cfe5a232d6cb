/* check_device.h - the device `check:A`: every operation runs on A and on the CPU, and the first
 * byte that differs is an error of the stream which names operation, layer, operand and element.
 * For finding a wrong kernel inside a whole model: `tern run --device check:cuda:0`. */
#ifndef TERN_DEVICE_CHECK_DEVICE_H
#define TERN_DEVICE_CHECK_DEVICE_H

#include "device/backend.h"

/* Its table; known to the registry, which opens its devices by name. */
extern const tern_backend tern_backend_check;

/* Opens `check:` + `name`. */
int tern_check_open(tern_device **out, const char *name, const tern_device_options *options,
                    tern_error *err);

/* ---- shared by check_device.c and check_program.c ------------------------------------------- */

enum { GOT, CPU, SIDES };

typedef struct check_device {
    tern_device base;
    tern_device *side[SIDES];
} check_device;

typedef struct check_buffer {
    tern_buffer base;
    tern_buffer *side[SIDES];
    uint8_t *host[SIDES]; /* for comparisons; as large as the buffer */
} check_buffer;

typedef struct check_weight {
    tern_weight base;
    tern_weight *side[SIDES];
} check_weight;

typedef struct check_stream {
    tern_stream base;
    tern_stream *side[SIDES];
} check_stream;

size_t tern_check_program_bytes(const tern_op *ops, int n_ops, const tern_batch_limits *limits);
int tern_check_program_create(tern_program **out, tern_device *device, const tern_op *ops,
                              int n_ops, const tern_batch_limits *limits, tern_error *err);
int tern_check_program_run(tern_program *program, tern_stream *stream, const tern_batch *batch,
                           tern_error *err);
void tern_check_program_destroy(tern_program *program);

#endif
