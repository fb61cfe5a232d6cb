/* cmd_tokenize.c - `tern tokenize`: the ids of a text. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/fail.h"
#include "cli/console.h"

typedef struct tokenize_options {
    cli_model_options model; /* its file and pre-tokenizer */
    const char *text, *file;
    int no_bos, eos, special, pieces, json;
} tokenize_options;

#define AT(member) offsetof(tokenize_options, member)
static const cli_option options[] = {
    {"model", 'm', CLI_TEXT, AT(model.model), 0, 0, "FILE",
     "model file; default: the embedded demo model"},
    {"pretokenizer", 0, CLI_TEXT, AT(model.pretokenizer), 0, 0, "NAME",
     "instead of the file's: llama-bpe, gpt-2, qwen2, falcon, default"},
    {"prompt", 'p', CLI_TEXT, AT(text), 0, 0, "TEXT", "the text"},
    {"file", 'f', CLI_TEXT, AT(file), 0, 0, "FILE", "file with the text"},
    {"no-bos", 0, CLI_FLAG, AT(no_bos), 0, 0, NULL, "leave out the token that begins a text"},
    {"eos", 0, CLI_FLAG, AT(eos), 0, 0, NULL, "end with EOS where the model asks for it"},
    {"special", 0, CLI_FLAG, AT(special), 0, 0, NULL, "recognise control tokens in the text"},
    {"pieces", 0, CLI_FLAG, AT(pieces), 0, 0, NULL, "one line per token: id and text"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "a JSON object"},
};
static int tokenize(int argc, char **argv, tern_error *err);
const cli_command cli_tokenize = {"tokenize",
                                  "prints the token ids of a text (-p, -f or standard input)",
                                  "",
                                  options,
                                  (int)(sizeof options / sizeof options[0]),
                                  tokenize};

static void print_piece(const tern_tokenizer *tokenizer, int32_t id)
{
    size_t bytes;
    const char *piece = tern_tokenizer_bytes(tokenizer, id, &bytes);
    printf("%6d  \"", id);
    for (size_t i = 0; i < bytes; i++) {
        const unsigned char c = (unsigned char)piece[i];
        if (c < 0x20 || c == 0x7f || c == '"' || c == '\\')
            printf("\\x%02x", c);
        else
            putchar(c);
    }
    printf("\"\n");
}

static int print_ids(const tokenize_options *o, const tern_tokenizer *tokenizer, const int32_t *ids,
                     int n, tern_error *err)
{
    if (!o->json) {
        for (int i = 0; i < n; i++) {
            if (o->pieces)
                print_piece(tokenizer, ids[i]);
            else
                printf(i ? " %d" : "%d", ids[i]);
        }
        if (!o->pieces) printf("\n");
        return TERN_OK;
    }
    json_t *list = json_array();
    for (int i = 0; i < n; i++) json_array_append_new(list, json_integer(ids[i]));
    json_t *object = json_pack("{s:s, s:i, s:o}", "pretokenizer", tern_tokenizer_pre(tokenizer),
                               "n", n, "tokens", list);
    if (!object) return tern_fail(err, TERN_E_FIT, "no memory for the JSON answer");
    json_dumpf(object, stdout, JSON_COMPACT);
    printf("\n");
    json_decref(object);
    return TERN_OK;
}

static int tokenize_with(const tokenize_options *o, const tern_model *model, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(model);
    const unsigned flags = (o->no_bos ? 0u : TERN_ENCODE_BOS) | (o->eos ? TERN_ENCODE_EOS : 0u) |
                           (o->special ? TERN_ENCODE_SPECIAL : 0u);
    char *text;
    size_t bytes;
    int32_t *ids;
    int n;
    int status = cli_read_text(&text, &bytes, o->text, o->file, err);
    if (status != TERN_OK) return status;
    status = cli_encode(&ids, &n, tokenizer, text, bytes, flags, err);
    free(text);
    if (status != TERN_OK) return status;
    status = print_ids(o, tokenizer, ids, n, err);
    free(ids);
    return status;
}

static int tokenize(int argc, char **argv, tern_error *err)
{
    tokenize_options o = {0};
    int status = cli_parse(&o, &cli_tokenize, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    tern_model *model;
    status = cli_open_model(&model, &o.model, err);
    if (status != TERN_OK) return status;
    status = tokenize_with(&o, model, err);
    tern_model_close(model);
    return status;
}
