/* fuzz_seeds.c - writes the seeds of the fuzz targets: small good inputs, a folder for each target.
 *
 *   fuzz_seeds FOLDER */
#include <sys/stat.h>

#include "fuzz.h"
#include "hf_folder.h"
#include "sentencepiece_builder.h"

static const char *root;

static void write_seed(const char *target, const char *name, const void *data, size_t n)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", root, target);
    mkdir(path, 0777);
    snprintf(path, sizeof path, "%s/%s/%s", root, target, name);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(data, 1, n, file) != n || fclose(file) != 0) abort();
}

/* The first `most` bytes of a file become a seed. */
static void copy_seed(const char *target, const char *name, const char *from, size_t most)
{
    static char bytes[1 << 20];
    FILE *file = fopen(from, "rb");
    if (!file) abort();
    const size_t n = fread(bytes, 1, most < sizeof bytes ? most : sizeof bytes, file);
    fclose(file);
    write_seed(target, name, bytes, n);
}

static void write_gguf(void)
{
    const tiny_options o = {.arch = "llama", .ternary = 35};
    gguf_builder vocabulary = tiny_vocabulary(0), model = tiny_build(&o);
    write_seed("gguf", "vocabulary", vocabulary.bytes, vocabulary.n);
    write_seed("gguf", "model", model.bytes, model.n);
    free(vocabulary.bytes);
    free(model.bytes);
    copy_seed("gguf", "tiny", TERN_SOURCE_DIR "/tests/golden/bitnet-tiny.gguf", SIZE_MAX);
}

static void write_folder(void)
{
    const hf_options o = {.extra = ",\"rope_scaling\":{\"type\":\"linear\",\"factor\":2.0}"};
    const hf_folder folder = hf_make(&o);
    char path[160];
    snprintf(path, sizeof path, "%s/config.json", folder.path);
    copy_seed("config", "config", path, SIZE_MAX);
    snprintf(path, sizeof path, "%s/model.safetensors", folder.path);
    copy_seed("safetensors", "model", path, SIZE_MAX);
    copy_seed("safetensors", "header", path, 6000);
    hf_remove(&folder);
}

static void write_requests(void)
{
    static const char person[] =
        "{\"type\":\"object\",\"properties\":{\"s\":{\"type\":\"string\",\"pattern\":"
        "\"^[a-c]{2}-\\\\d+$\"},\"n\":{\"allOf\":[{\"type\":\"integer\"},{\"minimum\":-3,"
        "\"maximum\":40}]},\"x\":{\"type\":\"number\",\"exclusiveMinimum\":0.5},\"l\":{\"anyOf\":"
        "[{\"$ref\":\"#\"},{\"type\":\"null\"}]},\"e\":{\"enum\":[\"a\",1,true]}},\"required\":"
        "[\"s\",\"n\",\"x\"],\"additionalProperties\":false}\0"
        "{\"s\":\"ab-12\",\"n\": -3,\"x\":0.75,\"l\":null,\"e\":\"a\"}";
    static const char list[] = "{\"type\":\"array\",\"items\":{\"type\":[\"number\",\"null\"]},"
                               "\"minItems\":1,\"maxItems\":3}\0[1.5e3, null]";
    static const char completion[] =
        "0{\"prompt\":[[1,2,3],[4]],\"echo\":true,\"logprobs\":1,\"max_tokens\":1,\"stop\":[\"a\"],"
        "\"logit_bias\":{\"3\":1.5},\"n\":2,\"seed\":7,\"temperature\":0.5,\"top_k\":3}";
    static const char chat[] =
        "1{\"messages\":[{\"role\":\"system\",\"content\":\"x\"},{\"role\":\"user\",\"content\":"
        "[{\"type\":\"text\",\"text\":\"Hi\"}]}],\"stream\":true,\"stream_options\":"
        "{\"include_usage\":true},\"response_format\":{\"type\":\"json_schema\",\"json_schema\":"
        "{\"schema\":{\"type\":\"object\"}}}}";
    write_seed("schema", "person", person, sizeof person - 1);
    write_seed("schema", "list", list, sizeof list - 1);
    static const char null_name[] = "{\"type\":\"object\"}\0{\"\\u0000\":1}";
    write_seed("schema", "null_name", null_name, sizeof null_name - 1);
    write_seed("request", "completion", completion, sizeof completion - 1);
    write_seed("request", "chat", chat, sizeof chat - 1);
}

int main(int argc, char **argv)
{
    if (argc != 2) return 2;
    root = argv[1];
    mkdir(root, 0777);
    write_gguf();
    write_folder();
    write_requests();
    copy_seed("tokenizer_json", "bytes", TERN_SOURCE_DIR "/tests/tokenizers/gpt-2.json", SIZE_MAX);
    copy_seed("tokenizer_json", "pieces", TERN_SOURCE_DIR "/tests/tokenizers/llama.json", SIZE_MAX);
    static const char tiny[] = "{\"pre_tokenizer\":{\"type\":\"ByteLevel\"},\"model\":{\"vocab\":"
                               "{\"a\":0,\"b\":1,\"ab\":2},\"merges\":[\"a b\"]}}";
    write_seed("tokenizer_json", "tiny", tiny, sizeof tiny - 1);
    gguf_builder pieces = small_sentencepiece(2, 1, 0);
    write_seed("sentencepiece", "small", pieces.bytes, pieces.n);
    free(pieces.bytes);
    static const char *const texts[] = {"aab b\r\n\n  12345'S'll \xe2\x82\xac<s>x",
                                        "\x80 =!?\n\xff\xed\xa0",
                                        "Cthe the  \t\xc2\xa0\xcc\x81\xf0\x9f\x98\x80"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char name[] = {(char)('0' + i), 0};
        write_seed("encode", name, texts[i], strlen(texts[i]));
    }
    static const char tiles[] = "[a]\nm = 256\nk = 384\nbm = 128\nbk = 96\nbmm = 32\n";
    write_seed("tl_config", "tiles", tiles, sizeof tiles - 1);
    for (uint8_t type = 0; type < 14; type++) {
        const uint8_t rows[] = {type, 127, 31, type, 32, 24, 32, 0, 0x55, 0x1a, 0x64, 0x98, 0x01};
        char name[8];
        snprintf(name, sizeof name, "%d", type);
        write_seed("rows", name, rows, sizeof rows);
    }
    return 0;
}
