/* cmd_chat.c - `tern chat`: a conversation on the terminal or, line by line, through a pipe. Every
 * turn is one request over the whole conversation. Ctrl-C ends the answer, Ctrl-D the program. A
 * base model has no template: it continues every line by itself. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fail.h"
#include "cli/answer.h"
#include "cli/console.h"
#include "cli/editor.h"

typedef struct chat_options {
    cli_model_options model;
    cli_sampling_options sampling;
    const char *system, *format, *history;
    int json;
} chat_options;

#define AT(member) offsetof(chat_options, member)
static const cli_option options[] = {
    {"system", 0, CLI_TEXT, AT(system), 0, 0, "TEXT", "what the model is told first"},
    {"chat-template", 0, CLI_TEXT, AT(format), 0, 0, "NAME",
     "none, bitnet, llama3, falcon3 or chatml (default: as the file says)"},
    {"history", 0, CLI_TEXT, AT(history), 0, 0, "FILE", "keeps the typed lines for the next time"},
    {"json", 0, CLI_FLAG, AT(json), 0, 0, NULL, "one JSON object a line for each answer"},
    CLI_SAMPLING_OPTIONS(chat_options, sampling),
    CLI_MODEL_OPTIONS(chat_options, model),
};
static int chat(int argc, char **argv, tern_error *err);
const cli_command cli_chat = {"chat",
                              "talks with a model; /help lists what else can be typed",
                              "",
                              options,
                              (int)(sizeof options / sizeof options[0]),
                              chat};

/* A conversation: the messages own their contents. */
typedef struct talk {
    const chat_options *options;
    cli_session session;
    cli_editor *editor;
    tern_chat_format format;
    tern_chat_message *messages;
    size_t n_messages, room;
} talk;

static int add_message(talk *t, const char *role, const char *text, size_t bytes, tern_error *err)
{
    if (t->n_messages == t->room) {
        const size_t room = 2 * t->room + 8;
        tern_chat_message *grown = realloc(t->messages, room * sizeof *grown);
        if (!grown) return tern_fail(err, TERN_E_FIT, "no memory for the conversation");
        t->messages = grown;
        t->room = room;
    }
    char *copy = malloc(bytes + 1);
    if (!copy) return tern_fail(err, TERN_E_FIT, "no memory for a message");
    if (bytes) memcpy(copy, text, bytes);
    copy[bytes] = 0;
    t->messages[t->n_messages++] =
        (tern_chat_message){.role = role, .content = copy, .bytes = bytes};
    return TERN_OK;
}

static void drop_messages(talk *t, size_t keep)
{
    while (t->n_messages > keep) free((void *)(uintptr_t)t->messages[--t->n_messages].content);
}

/* Only what --system says is left. */
static int begin_again(talk *t, tern_error *err)
{
    drop_messages(t, 0);
    const char *system = t->options->system;
    return system && t->format != TERN_CHAT_NONE
               ? add_message(t, "system", system, strlen(system), err)
               : TERN_OK;
}

/* ---- a turn ---------------------------------------------------------------------------------- */

static int encode_turn(talk *t, int32_t **ids, int *n, tern_error *err)
{
    const tern_tokenizer *tokenizer = tern_model_tokenizer(t->session.model);
    if (t->format == TERN_CHAT_NONE) {
        const tern_chat_message *last = &t->messages[t->n_messages - 1];
        return cli_encode(ids, n, tokenizer, last->content, last->bytes, TERN_ENCODE_BOS, err);
    }
    size_t count;
    const int status =
        tern_chat_encode(ids, &count, tokenizer, t->format, t->messages, t->n_messages, err);
    if (status == TERN_OK) *n = (int)count;
    return status;
}

static int print_answer(const cli_answer *a, int json, tern_error *err)
{
    if (!json) {
        if (a->text_bytes == 0 || a->text[a->text_bytes - 1] != '\n') putchar('\n');
        return fflush(stdout) ? tern_fail(err, TERN_E_IO, "cannot write to standard output")
                              : TERN_OK;
    }
    json_t *object = json_pack("{s:s, s:o, s:i, s:s}", "role", "assistant", "content",
                               json_stringn(a->text ? a->text : "", a->text_bytes), "tokens",
                               a->n_tokens, "finish", tern_finish_name(a->finish));
    if (!object) return tern_fail(err, TERN_E_FIT, "no memory for the JSON answer");
    const int failed = json_dumpf(object, stdout, JSON_COMPACT) != 0 || putchar('\n') == EOF ||
                       fflush(stdout) != 0;
    json_decref(object);
    return failed ? tern_fail(err, TERN_E_IO, "cannot write to standard output") : TERN_OK;
}

static int answer_turn(talk *t, tern_error *err)
{
    int32_t *ids;
    int n;
    int status = encode_turn(t, &ids, &n, err);
    if (status != TERN_OK) return status;
    cli_answer a = {.tokenizer = tern_model_tokenizer(t->session.model),
                    .stream = !t->options->json};
    const tern_request request = cli_request(&t->options->sampling, ids, n);
    cli_keep_interrupt();
    status = cli_answer_run(&a, t->session.engine, &request, err);
    if (status == TERN_OK) status = print_answer(&a, t->options->json, err);
    if (status == TERN_OK && a.finish == TERN_FINISH_CONTEXT)
        fprintf(stderr, "tern: the context of %d tokens is full: /clear begins again\n",
                tern_engine_plan(t->session.engine)->workload.n_ctx);
    if (status == TERN_OK) status = add_message(t, "assistant", a.text, a.text_bytes, err);
    cli_keep_interrupt();
    cli_answer_free(&a);
    free(ids);
    return status;
}

/* A person may go on after a turn that was too long; a pipe ends with its error. */
static int take_turn(talk *t, const char *line, size_t bytes, tern_error *err)
{
    const size_t before = t->n_messages;
    int status = add_message(t, "user", line, bytes, err);
    if (status == TERN_OK) status = answer_turn(t, err);
    if (t->format == TERN_CHAT_NONE || status != TERN_OK) drop_messages(t, before);
    if (status != TERN_E_USAGE || !cli_editor_is_terminal(t->editor)) return status;
    fprintf(stderr, "tern: %s (/clear begins again)\n", err->text);
    return TERN_OK;
}

/* Whether the line was a command; *over ends the conversation. */
static int take_command(talk *t, int *over, const char *line, size_t bytes, tern_error *err)
{
    static const char help[] = "/clear   forgets the conversation\n"
                               "/exit    ends it, as Ctrl-D does\n"
                               "Ctrl-C   stops an answer\n";
    if (bytes == 5 && memcmp(line, "/help", 5) == 0)
        fputs(help, stderr);
    else if (bytes == 5 && memcmp(line, "/exit", 5) == 0)
        *over = 1;
    else if (bytes == 6 && memcmp(line, "/clear", 6) == 0)
        return begin_again(t, err);
    else
        fprintf(stderr, "tern: '%.*s' is no command: see /help\n", (int)(bytes < 40 ? bytes : 40),
                line);
    return TERN_OK;
}

static int converse(talk *t, tern_error *err)
{
    /* What takes no room on the line stands between marks. */
    char prompt[64];
    const char *bold = cli_color(stdout, CLI_BOLD), *plain = cli_color(stdout, CLI_PLAIN);
    const char *mark = *bold ? CLI_EDITOR_MARK : "";
    snprintf(prompt, sizeof prompt, "%s%s%s>%s%s%s ", mark, bold, mark, mark, plain, mark);
    int over = 0, status = begin_again(t, err);
    while (status == TERN_OK && !over) {
        const char *line;
        size_t bytes;
        status = cli_editor_read(t->editor, &line, &bytes, prompt, err);
        if (status != TERN_OK || !line) break;
        if (bytes && line[0] == '/')
            status = take_command(t, &over, line, bytes, err);
        else if (bytes)
            status = take_turn(t, line, bytes, err);
    }
    return status;
}

/* ---- the command ----------------------------------------------------------------------------- */

static int choose_format(talk *t, tern_error *err)
{
    t->format = tern_model_chat(t->session.model);
    if (t->options->format) return tern_chat_find(&t->format, t->options->format, err);
    const char *name = tern_model_config_of(t->session.model)->name;
    if (t->format == TERN_CHAT_UNKNOWN)
        return tern_fail(err, TERN_E_USAGE,
                         "the chat template of '%s' is not known here: name the nearest with "
                         "--chat-template bitnet, llama3, falcon3 or chatml",
                         name);
    if (t->format == TERN_CHAT_NONE)
        fprintf(stderr, "tern: '%s' is a base model: it continues text and gives no answers\n",
                name);
    return TERN_OK;
}

static int chat(int argc, char **argv, tern_error *err)
{
    chat_options o = {.sampling = CLI_SAMPLING_DEFAULTS};
    int status = cli_parse(&o, &cli_chat, argc, argv, NULL, err);
    if (status != TERN_OK) return status < 0 ? TERN_OK : status;
    talk t = {.options = &o};
    status = cli_open(&t.session, &o.model, err);
    if (status != TERN_OK) return status;
    cli_keep_interrupt();
    status = choose_format(&t, err);
    if (status == TERN_OK) status = cli_editor_create(&t.editor, o.history, err);
    if (status == TERN_OK) status = converse(&t, err);
    cli_editor_destroy(t.editor);
    drop_messages(&t, 0);
    free(t.messages);
    cli_close(&t.session);
    return status;
}
