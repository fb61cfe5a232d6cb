/* fuzz_main.c - runs a fuzz target without libFuzzer: every seed of a folder as it is, cut off, and
 * with a few bytes changed, drawn from a fixed seed.
 *
 *   fuzz_NAME FOLDER ROUNDS */
#include <dirent.h>

#include "cases.h"
#include "fuzz.h"

/* One change that damaged files are made of. */
static size_t mutate(uint8_t *bytes, size_t n, uint64_t *seed)
{
    static const uint8_t likely[] = {0, 1, 2, 3, 4, 8, 0x7f, 0x80, 0xff, '"', '{', '[', ',', '0'};
    const size_t at = case_next(seed) % n;
    switch (case_int(seed, 0, 5)) {
    case 0: bytes[at] ^= (uint8_t)(1 << case_int(seed, 0, 7)); return n;
    case 1: bytes[at] = likely[case_next(seed) % sizeof likely]; return n;
    case 2: return at + 1;
    case 3:
        memset(bytes + at, likely[case_next(seed) % sizeof likely], n - at < 8 ? n - at : 8);
        return n;
    case 4: {
        const size_t from = case_next(seed) % n, most = n - (from > at ? from : at);
        memmove(bytes + at, bytes + from, most < 16 ? most : 16);
        return n;
    }
    default: bytes[at] = (uint8_t)case_next(seed); return n;
    }
}

static void run(const uint8_t *seed_bytes, size_t n, int rounds, uint64_t *seed)
{
    LLVMFuzzerTestOneInput(seed_bytes, n);
    for (int round = 0; round < rounds && n > 0; round++) {
        uint8_t *copy = case_alloc(n);
        memcpy(copy, seed_bytes, n);
        size_t left = n;
        for (int i = case_int(seed, 1, 4); i > 0; i--) left = mutate(copy, left, seed);
        uint8_t *exact = case_alloc(left); /* so that reading past the end is seen */
        memcpy(exact, copy, left);
        LLVMFuzzerTestOneInput(exact, left);
        free(exact);
        free(copy);
    }
}

int main(int argc, char **argv)
{
    if (argc != 3) return 2;
    DIR *folder = opendir(argv[1]);
    uint64_t seed = 1;
    int n_seeds = 0;
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", argv[1], entry->d_name);
        FILE *file = entry->d_name[0] == '.' ? NULL : fopen(path, "rb");
        if (!file) continue;
        static uint8_t bytes[1 << 20];
        const size_t n = fread(bytes, 1, sizeof bytes, file);
        fclose(file);
        run(bytes, n, atoi(argv[2]), &seed);
        n_seeds++;
    }
    if (folder) closedir(folder);
    printf("%d seeds\n", n_seeds);
    return n_seeds > 0 ? 0 : 1;
}
