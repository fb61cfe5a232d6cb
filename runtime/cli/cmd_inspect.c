/* cmd_inspect.c - `tern inspect`: what a model file holds, how its ternary codes are distributed,
 * and what looks wrong with it. Everything is gathered as one JSON object, of which the text is a
 * view. A file that is no model of ours is shown as far as it can be read, then refused. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "base/text.h"
#include "cli/console.h"
#include "cli/inspect.h"

#define MIB 1048576.0

typedef struct inspect_options {
    cli_model_options model; /* the file and how it is to be read */
    int keys, tensors, json;
} inspect_options;

#define AT(member) offsetof(inspect_options, member)
static const cli_option options[] = {
    {"model", 'm', CLI_TEXT, AT(model.model), 0, 0, "FILE",
     "model file or folder; default: the embedded demo model"},
    {"keys", 0, CLI_FLAG, AT(keys), 0, 0, NULL, "also every key with its value"},
    {"tensors", 0, CLI_FLAG, AT(tensors), 0, 0, NULL,
     "also every tensor, ternary ones with their codes"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "a JSON object"},
    CLI_FILE_OPTIONS(inspect_options, model),
};
static int inspect(int argc, char **argv, tern_error *err);
const cli_command cli_inspect = {"inspect",
                                 "shows what a model file holds and what looks wrong with it",
                                 "",
                                 options,
                                 (int)(sizeof options / sizeof options[0]),
                                 inspect};

/* ---- gathering ------------------------------------------------------------------------------- */

static json_t *model_json(const tern_model *model)
{
    static const char *const acts[] = {"relu2", "silu", "gelu"};
    const tern_model_config *c = tern_model_config_of(model);
    return json_pack("{s:s, s:s, s:I, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:i, s:f, s:f, s:s, s:b, "
                     "s:b, s:s, s:I}",
                     "name", c->name, "architecture", c->arch, "parameters",
                     (json_int_t)tern_model_n_params(model), "layers", c->n_layers, "d", c->d, "f",
                     c->f, "heads", c->h, "kv_heads", c->kv, "head_size", c->hd, "vocabulary",
                     c->n_vocab, "context", c->n_ctx, "rope_base", (double)c->rope_base, "eps",
                     (double)c->eps, "activation", acts[c->act], "sub_norms", c->sub_norms,
                     "tied_head", c->tied, "chat_template", tern_chat_name(tern_model_chat(model)),
                     "canary_tokens", (json_int_t)tern_model_canary(model).n);
}

static json_t *tokenizer_json(const tern_tokenizer *t)
{
    json_t *ends = json_array();
    for (int32_t id = 0; id < tern_tokenizer_n_vocab(t); id++)
        if (tern_tokenizer_is_end(t, id)) json_array_append_new(ends, json_integer(id));
    return json_pack("{s:s, s:i, s:i, s:i, s:o}", "pretokenizer", tern_tokenizer_pre(t), "tokens",
                     tern_tokenizer_n_vocab(t), "bos", tern_tokenizer_bos(t), "eos",
                     tern_tokenizer_eos(t), "ends", ends);
}

/* Shares of the codes -1, 0, +1. */
static json_t *shares_json(const uint64_t counts[3])
{
    const double n = (double)counts[0] + (double)counts[1] + (double)counts[2];
    json_t *list = json_array();
    for (int i = 0; i < 3; i++)
        json_array_append_new(list, json_real(n > 0.0 ? (double)counts[i] / n : 0.0));
    return list;
}

static json_t *codes_json(const cli_codes *codes, size_t n)
{
    uint64_t sum[3] = {0};
    float low = n ? codes[0].scale : 0.0f, high = low;
    for (size_t i = 0; i < n; i++) {
        for (int c = 0; c < 3; c++) sum[c] += codes[i].counts[c];
        if (codes[i].scale < low) low = codes[i].scale;
        if (codes[i].scale > high) high = codes[i].scale;
    }
    return json_pack("{s:I, s:o, s:f, s:f}", "matrices", (json_int_t)n, "shares", shares_json(sum),
                     "smallest_scale", (double)low, "largest_scale", (double)high);
}

/* Adds the codes of each ternary tensor to its object in the list. */
static void add_codes(json_t *tensors, const tern_gguf *gguf, const cli_codes *codes, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        json_t *tensor = json_array_get(tensors, (size_t)(codes[i].tensor - gguf->tensors));
        json_object_set_new(tensor, "shares", shares_json(codes[i].counts));
        json_object_set_new(tensor, "scale", json_real((double)codes[i].scale));
    }
}

static json_t *file_json(const tern_gguf *gguf)
{
    json_t *name = json_string(gguf->name); /* NULL when a name is no UTF-8 */
    if (!name) name = json_string(TERN_QUOTED(gguf->name, strlen(gguf->name)));
    return json_pack("{s:o, s:b, s:I, s:i, s:I, s:I}", "name", name, "folder", gguf->elsewhere > 0,
                     "bytes", (json_int_t)tern_gguf_bytes(gguf), "version",
                     (int)gguf->version, "keys", (json_int_t)gguf->n_values, "tensors",
                     (json_int_t)gguf->n_tensors);
}

static int add_model(json_t *all, json_t *tensors, const tern_model *model, tern_error *err)
{
    cli_codes *codes;
    size_t n;
    const tern_progress progress = cli_progress();
    cli_catch_interrupt();
    const int status = cli_count_codes(&codes, &n, model, &progress, err);
    cli_progress_end();
    if (status != TERN_OK) return status;
    json_object_set_new(all, "model", model_json(model));
    json_object_set_new(all, "tokenizer", tokenizer_json(tern_model_tokenizer(model)));
    json_object_set_new(all, "codes", codes_json(codes, n));
    json_object_set_new(all, "findings", cli_doctor(model, codes, n));
    add_codes(tensors, model->gguf, codes, n);
    free(codes);
    return TERN_OK;
}

/* ---- text ------------------------------------------------------------------------------------ */

static const char *text_at(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

static long long int_at(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

static double real_at(const json_t *object, const char *key)
{
    return json_number_value(json_object_get(object, key));
}

static void print_shares(const json_t *shares)
{
    printf("-1 %5.2f %%, 0 %5.2f %%, +1 %5.2f %%",
           100.0 * json_real_value(json_array_get(shares, 0)),
           100.0 * json_real_value(json_array_get(shares, 1)),
           100.0 * json_real_value(json_array_get(shares, 2)));
}

static void print_model(const json_t *m, const json_t *t)
{
    if (!m) return;
    printf("model      %s, architecture %s, %.2f M parameters\n", text_at(m, "name"),
           text_at(m, "architecture"), (double)int_at(m, "parameters") / 1e6);
    printf(
        "shape      %lld layers of %lld, f %lld, %lld heads on %lld of size %lld, context %lld\n",
        int_at(m, "layers"), int_at(m, "d"), int_at(m, "f"), int_at(m, "heads"),
        int_at(m, "kv_heads"), int_at(m, "head_size"), int_at(m, "context"));
    printf("arithmetic %s, %s sub-norms, %s head, rope base %g, eps %g\n", text_at(m, "activation"),
           json_is_true(json_object_get(m, "sub_norms")) ? "with" : "no",
           json_is_true(json_object_get(m, "tied_head")) ? "tied" : "separate",
           real_at(m, "rope_base"), real_at(m, "eps"));
    printf("tokenizer  %s, %lld tokens, BOS %lld, EOS %lld\n", text_at(t, "pretokenizer"),
           int_at(t, "tokens"), int_at(t, "bos"), int_at(t, "eos"));
    printf("chat       template %s\n", text_at(m, "chat_template"));
}

static void print_codes(const json_t *codes)
{
    if (!codes) return;
    printf("codes      ");
    print_shares(json_object_get(codes, "shares"));
    printf(", scales %.4g to %.4g\n", real_at(codes, "smallest_scale"),
           real_at(codes, "largest_scale"));
}

static void print_findings(const json_t *findings)
{
    size_t i;
    json_t *finding;
    if (findings && json_array_size(findings) == 0) printf("doctor     nothing looks wrong\n");
    json_array_foreach(findings, i, finding)
    {
        const char *severity = text_at(finding, "severity");
        const int note = strcmp(severity, "note") == 0, problem = strcmp(severity, "problem") == 0;
        const cli_color_name color = note ? CLI_BOLD : problem ? CLI_RED : CLI_YELLOW;
        printf("doctor     %s%s:%s %s\n", cli_color(stdout, color), severity,
               cli_color(stdout, CLI_PLAIN), text_at(finding, "text"));
    }
}

static void print_tensors(const json_t *tensors)
{
    size_t i;
    json_t *t;
    json_array_foreach(tensors, i, t)
    {
        const json_t *shape = json_object_get(t, "shape"), *shares = json_object_get(t, "shares");
        char text[96] = "";
        for (size_t d = 0; d < json_array_size(shape); d++) {
            const size_t used = strlen(text);
            snprintf(text + used, sizeof text - used, "%s%lld", d ? " x " : "",
                     (long long)json_integer_value(json_array_get(shape, d)));
        }
        printf("  %-32s %-8s %-16s", text_at(t, "name"), text_at(t, "type"), text);
        if (json_object_get(t, "offset")) printf(" at %lld,", int_at(t, "offset"));
        printf(" %lld bytes", int_at(t, "bytes"));
        if (shares) {
            printf(", ");
            print_shares(shares);
            printf(", scale %.4g", real_at(t, "scale"));
        }
        printf("\n");
    }
}

static void print_keys(json_t *keys)
{
    const char *key;
    json_t *value;
    json_object_foreach(keys, key, value)
    {
        char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(9));
        printf("  %-48s %s\n", key, text ? text : "");
        free(text);
    }
}

static void print_text(const json_t *all)
{
    const json_t *file = json_object_get(all, "file");
    size_t i;
    json_t *type;
    const int folder = json_is_true(json_object_get(file, "folder"));
    printf("%s %s, %.2f MiB, ", folder ? "folder    " : "file      ", text_at(file, "name"),
           (double)int_at(file, "bytes") / MIB);
    if (folder)
        printf("as GGUF %lld keys, %lld tensors\n", int_at(file, "keys"), int_at(file, "tensors"));
    else
        printf("GGUF v%lld, %lld keys, %lld tensors\n", int_at(file, "version"),
               int_at(file, "keys"), int_at(file, "tensors"));
    print_model(json_object_get(all, "model"), json_object_get(all, "tokenizer"));
    printf("types      ");
    json_array_foreach(json_object_get(all, "types"), i, type)
    {
        printf("%s%s (%lld): %lld tensors, %.2f MiB", i ? "; " : "", text_at(type, "type"),
               int_at(type, "type_number"), int_at(type, "tensors"),
               (double)int_at(type, "bytes") / MIB);
    }
    printf("\n");
    print_codes(json_object_get(all, "codes"));
    print_findings(json_object_get(all, "findings"));
    if (json_object_get(all, "keys")) printf("\nkeys\n");
    print_keys(json_object_get(all, "keys"));
    if (json_object_get(all, "tensors")) printf("\ntensors\n");
    print_tensors(json_object_get(all, "tensors"));
}

/* ---- the command ----------------------------------------------------------------------------- */

/* `problem` is why no model could be made of the file; NULL when one could. */
static int report(const inspect_options *o, const tern_gguf *gguf, const tern_model *model,
                  const tern_error *problem, tern_error *err)
{
    json_t *all = json_object(), *tensors = cli_inspect_tensors(gguf);
    int status = TERN_OK;
    json_object_set_new(all, "file", file_json(gguf));
    if (problem) json_object_set_new(all, "error", json_string(problem->text));
    if (model) status = add_model(all, tensors, model, err);
    json_object_set_new(all, "types", cli_inspect_types(gguf));
    if (o->keys) json_object_set_new(all, "keys", cli_inspect_keys(gguf));
    if (o->tensors) json_object_set(all, "tensors", tensors);
    json_decref(tensors);
    if (status != TERN_OK) {
        json_decref(all);
        return status;
    }
    const json_t *first = json_array_get(json_object_get(all, "findings"), 0);
    if (first && strcmp(text_at(first, "severity"), "problem") == 0) /* problems come first */
        status = tern_fail(err, TERN_E_MODEL, "'%s': %s", gguf->name, text_at(first, "text"));
    if (!o->json) {
        print_text(all);
        json_decref(all);
        return status;
    }
    const int printed = cli_print_json(all, err);
    return printed == TERN_OK ? status : printed;
}

static int inspect(int argc, char **argv, tern_error *err)
{
    inspect_options o = {0};
    int status = cli_parse(&o, &cli_inspect, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    tern_model *model = NULL;
    tern_error problem = {0};
    status = cli_open_model(&model, &o.model, &problem);
    if (status == TERN_OK) {
        status = report(&o, model->gguf, model, NULL, err);
        tern_model_close(model);
        return status;
    }
    tern_gguf *gguf = NULL;
    const int readable = o.model.model && status == TERN_E_MODEL &&
                         tern_gguf_open_alone(&gguf, o.model.model, NULL) == TERN_OK;
    int shown = TERN_OK;
    if (readable) shown = report(&o, gguf, NULL, &problem, err);
    tern_gguf_close(gguf);
    return shown == TERN_OK ? tern_fail(err, status, "%s", problem.text) : shown;
}
