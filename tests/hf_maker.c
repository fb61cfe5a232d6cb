/* hf_maker.c - makes the small checkpoint folder of hf_folder.h, with a head of its own, for tests
 * of the program, and prints its path; the caller removes it. */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <setjmp.h>

#include <cmocka.h>

#include "hf_folder.h"

int main(void)
{
    const hf_options options = {.tiny = {.arch = "bitnet-b1.58", .untied = 1}};
    const hf_folder folder = hf_make(&options);
    printf("%s\n", folder.path);
    return 0;
}
