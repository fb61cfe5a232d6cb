/* plan_backend.h - the pure functions of a device's backend by the device's name, also where that
 * backend is no part of this program. */
#ifndef TERN_PLAN_BACKEND_H
#define TERN_PLAN_BACKEND_H

#include "tern/device.h"

/* The backend compiled in, else the description of plan_backend.c; TERN_E_USAGE for a name that is
 * neither. Only weight_layout, quant_bytes and program_bytes may be called. */
const tern_backend *tern_plan_backend(const char *name, tern_error *err);

#endif
