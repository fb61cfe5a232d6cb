/* known_answers.h - what a device must answer before it may be used (P2), for backends that have no
 * closer look at their kernels: small programs through the device contract. */
#ifndef TERN_DEVICE_KNOWN_ANSWERS_H
#define TERN_DEVICE_KNOWN_ANSWERS_H

#include "tern/device.h"

/* TERN_E_SELF_TEST names the first program whose result differs from the reference's;
 * TERN_E_DEVICE and TERN_E_FIT when the device cannot run them. Needs 2 MiB of its memory. */
int tern_known_answers(tern_device *device, tern_error *err);

#endif
