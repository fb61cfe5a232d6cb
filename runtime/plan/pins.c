/* pins.c - what people say about places and budgets, read from text: every item is
 * NAME=DEVICE or DEVICE=BYTES, separated by commas. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/units.h"
#include "plan/planner.h"

#define MAX_ITEM 64

/* Copies the item at *at into left and right of its '='; *at moves behind it. */
static int next_item(char left[MAX_ITEM], char right[MAX_ITEM], const char **at, const char *option,
                     tern_error *err)
{
    const size_t n = strcspn(*at, ",");
    const char *equals = memchr(*at, '=', n);
    const size_t n_left = equals ? (size_t)(equals - *at) : 0,
                 n_right = equals ? n - n_left - 1 : 0;
    if (n_left == 0 || n_right == 0 || n_left >= MAX_ITEM || n_right >= MAX_ITEM)
        return tern_fail(err, TERN_E_USAGE, "%s: '%.*s' is not NAME=VALUE", option,
                         n < 60 ? (int)n : 60, *at);
    snprintf(left, MAX_ITEM, "%.*s", (int)n_left, *at);
    snprintf(right, MAX_ITEM, "%.*s", (int)n_right, equals + 1);
    *at += n + ((*at)[n] == ',');
    if ((*at)[-1] == ',' && !**at)
        return tern_fail(err, TERN_E_USAGE, "%s ends in a comma", option);
    return TERN_OK;
}

static int find_device(int *out, const tern_site *site, const char *name, tern_error *err)
{
    char full[MAX_ITEM + 2];
    snprintf(full, sizeof full, "%s%s", name, strchr(name, ':') ? "" : ":0");
    *out = strcmp(name, "host") == 0 ? site->host : tern_site_find(site, full);
    if (*out >= 0) return TERN_OK;
    char names[160] = "";
    for (int i = 0; i < site->n; i++) {
        const size_t used = strlen(names);
        snprintf(names + used, sizeof names - used, "%s, ", site->devices[i].name);
    }
    return tern_fail(err, TERN_E_USAGE, "'%s' is not among the devices of this plan: use %sor host",
                     name, names);
}

/* ---- pins ----------------------------------------------------------------------------------- */

/* One item: which halves of which layers, and where. */
typedef struct pin {
    const char *text;
    int attn, ffn, embed, head, wide; /* wide: blk, which the others overrule */
    int first, end;                   /* layers */
    int device;
} pin;

/* "", ".7" or ".0-9" behind the name. */
static int read_layers(pin *p, const char *text, int n_layers, tern_error *err)
{
    p->first = 0;
    p->end = n_layers;
    if (!*text) return TERN_OK;
    char *end = NULL;
    errno = 0;
    const int digit = text[0] == '.' && text[1] >= '0' && text[1] <= '9';
    const long first = digit ? strtol(text + 1, &end, 10) : -1;
    long last = first;
    if (digit && *end == '-' && end[1] >= '0' && end[1] <= '9') last = strtol(end + 1, &end, 10);
    if (!digit || *end || errno || last < first || last >= n_layers)
        return tern_fail(err, TERN_E_USAGE,
                         "--pin: '%s' names no layers of this model: use .N or .FIRST-LAST, from 0 "
                         "to %d",
                         p->text, n_layers - 1);
    p->first = (int)first;
    p->end = (int)last + 1;
    return TERN_OK;
}

static int read_pin(pin *p, const char *name, const tern_model_config *config, tern_error *err)
{
    static const struct {
        const char *name;
        int attn, ffn, wide;
    } halves[] = {{"blk", 1, 1, 1}, {"attn", 1, 0, 0}, {"kv", 1, 0, 0}, {"ffn", 0, 1, 0}};
    *p =
        (pin){.text = name, .embed = strcmp(name, "embed") == 0, .head = strcmp(name, "head") == 0};
    if (p->embed || p->head) return TERN_OK;
    const size_t n = strcspn(name, ".");
    for (size_t i = 0; i < sizeof halves / sizeof halves[0]; i++) {
        if (strlen(halves[i].name) != n || memcmp(halves[i].name, name, n) != 0) continue;
        p->attn = halves[i].attn;
        p->ffn = halves[i].ffn;
        p->wide = halves[i].wide;
        return read_layers(p, name + n, config->n_layers, err);
    }
    return tern_fail(err, TERN_E_USAGE,
                     "--pin: '%s' is none of blk, attn, ffn, kv (with .N or .FIRST-LAST), embed, "
                     "head",
                     name);
}

static int put(int8_t *slot, const pin *p, const tern_site *site, tern_error *err)
{
    if (*slot >= 0 && *slot != p->device)
        return tern_fail(err, TERN_E_USAGE,
                         "--pin: %s=%s contradicts an earlier pin to %s: drop one of them", p->text,
                         site->devices[p->device].name, site->devices[*slot].name);
    *slot = (int8_t)p->device;
    return TERN_OK;
}

static int apply(tern_pins *pins, const pin *p, const tern_site *site, tern_error *err)
{
    int status = TERN_OK;
    if (p->embed) return put(&pins->embed, p, site, err);
    if (p->head) return put(&pins->head, p, site, err);
    for (int l = p->first; l < p->end && status == TERN_OK; l++) {
        if (p->attn) status = put(&pins->attn[l], p, site, err);
        if (p->ffn && status == TERN_OK) status = put(&pins->ffn[l], p, site, err);
    }
    return status;
}

int tern_pins_parse(tern_pins *out, const char *text, const tern_model_config *config,
                    const tern_site *site, tern_error *err)
{
    tern_pins wide, narrow;
    memset(&wide, -1, sizeof wide);
    narrow = wide;
    for (const char *at = text ? text : ""; *at;) {
        char name[MAX_ITEM], device[MAX_ITEM];
        pin p;
        int status = next_item(name, device, &at, "--pin", err);
        if (status == TERN_OK) status = read_pin(&p, name, config, err);
        if (status == TERN_OK) status = find_device(&p.device, site, device, err);
        if (status == TERN_OK) status = apply(p.wide ? &wide : &narrow, &p, site, err);
        if (status != TERN_OK) return status;
    }
    for (int l = 0; l < config->n_layers; l++) {
        if (narrow.attn[l] < 0) narrow.attn[l] = wide.attn[l];
        if (narrow.ffn[l] < 0) narrow.ffn[l] = wide.ffn[l];
    }
    if (config->tied && narrow.embed >= 0 && narrow.head >= 0 && narrow.embed != narrow.head)
        return tern_fail(err, TERN_E_USAGE,
                         "--pin: embed and head are pinned to %s and %s, but this model has one "
                         "table for both: drop one of them",
                         site->devices[narrow.embed].name, site->devices[narrow.head].name);
    *out = narrow;
    return TERN_OK;
}

/* ---- budgets -------------------------------------------------------------------------------- */

static int read_bytes(uint64_t *out, const char *text, tern_error *err)
{
    if (tern_read_bytes(out, text)) return TERN_OK;
    return tern_fail(err, TERN_E_USAGE,
                     "'%s' is no amount of memory: write 6GiB, 512MiB or a number of bytes", text);
}

int tern_site_memory(tern_site *site, const char *text, int reserve, tern_error *err)
{
    const char *option = reserve ? "--reserve" : "--mem";
    int seen[TERN_PLAN_MAX_DEVICES] = {0};
    for (const char *at = text ? text : ""; *at;) {
        char name[MAX_ITEM], amount[MAX_ITEM];
        int device = 0;
        uint64_t bytes = 0;
        int status = next_item(name, amount, &at, option, err);
        if (status == TERN_OK) status = find_device(&device, site, name, err);
        if (status == TERN_OK) status = read_bytes(&bytes, amount, err);
        if (status != TERN_OK) return status;
        if (seen[device]++)
            return tern_fail(err, TERN_E_USAGE, "%s names %s twice", option,
                             site->devices[device].name);
        uint64_t *budget = &site->devices[device].budget_bytes;
        if (reserve && bytes > *budget)
            return tern_fail(err, TERN_E_USAGE,
                             "--reserve takes %s from %s, which has %.1f MiB: reserve less", amount,
                             site->devices[device].name, (double)*budget / 1048576.0);
        *budget = reserve ? *budget - bytes : bytes;
    }
    return TERN_OK;
}
