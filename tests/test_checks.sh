#!/usr/bin/env bash
# test_checks.sh - the checks themselves: each complaint of check_style, check_includes and
# check_cuda is provoked by one bad file in a small tree of its own, and the same tree without it
# passes.
#
#   tests/test_checks.sh style | includes | cuda
set -eu
scripts=$(cd "$(dirname "$0")/../scripts" && pwd -P)
check=$scripts/check_$1
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
failures=0
cases=0

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

# put FILE: standard input into a file of the tree.
put() {
    mkdir -p "$(dirname "$tree/$1")"
    cat >"$tree/$1"
}

# bad COMPLAINT FILE: the tree with standard input as FILE must give this complaint, and only a
# complaint: afterwards the tree is fine again.
bad() {
    local output
    put "$2"
    cases=$((cases + 1))
    if output=$("$check" "$tree"); then
        fail "accepted, but should have said: $1"
    elif ! printf '%s\n' "$output" | grep -qF -- "$1"; then
        fail "should have said: $1" "and said: $output"
    fi
    rm "$tree/$2"
    "$check" "$tree" >/dev/null || fail "the tree without $2 is refused"
}

# repeat N TEXT
repeat() { awk -v n="$1" -v text="$2" 'BEGIN { while (n-- > 0) print text }'; }

# say_wide N NAME: the top comment of NAME.c, N columns wide, in characters of two bytes.
say_wide() {
    printf '/* %s.c - ' "$2"
    awk -v n=$(($1 - 11 - ${#2})) 'BEGIN { while (n-- > 0) printf "\303\244" }'
    printf ' */\n'
}

good_tree() {
    put CMakeLists.txt <<<'# A build.'
    put include/tern/base.h <<<'/* tern/base.h - the base. */
#ifndef TERN_BASE_H
#define TERN_BASE_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
int tern_seven(int a, int b, int c, int d, int e, int f, int (*g)(int, int), tern_error *err);
#ifdef __cplusplus
}
#endif
#endif'
    put runtime/base/fine.c <<<'/* fine.c - a good file. */
#include <stdlib.h>

#include "base/fine.h"
#include "tern/base.h"

/* int not_a_function(void) { */
static const char *text[] = {"} { \" exit(1)", "b"};
struct pair {
    int (*member)(int, int);
};
#define MACRO(x) \
    int x(void) {

static int helper(const char *const *list)
{
    return list[0][0] == '"'{'"' ? 1 : 0;
}

int tern_fine(void)
{
    return helper(text) + (getenv("TERN_A") != NULL);
}'
    put runtime/base/fine.h <<<'/* fine.h - its header. */
#ifndef TERN_BASE_FINE_H
#define TERN_BASE_FINE_H
int tern_fine(void);
#endif'
    put runtime/device/backend.h <<<'/* backend.h - the backends. */
#ifndef TERN_DEVICE_BACKEND_H
#define TERN_DEVICE_BACKEND_H
#endif'
    put cpu/kernels.h <<<'/* kernels.h - the kernels. */
#ifndef TERN_CPU_KERNELS_H
#define TERN_CPU_KERNELS_H
#include "device/backend.h"
#endif'
    put cuda/fine.cu <<<'/* fine.cu - bounded by nothing; a class of its own, <<< and all. */
#include "cuda/launch.cuh"

namespace TERN_GPU {

template <int N, class T>
static __global__ void __launch_bounds__(32 * N) fine_kernel(const fine_args a)
{
    after_predecessor();
    const int sum = __shfl_xor_sync(0xffffffffu, a.n, 1);
    __syncwarp();
    if (sum) atomicAdd(a.counter, 1u);
}

} /* namespace TERN_GPU */'
    put cuda/launch.cuh <<<'/* launch.cuh - the launcher. */
#ifndef TERN_CUDA_LAUNCH_CUH
#define TERN_CUDA_LAUNCH_CUH
namespace TERN_GPU {
template <class Args> int launch(void (*kernel)(Args), const Args &args)
{
    return cudaLaunchKernelEx(kernel, args);
}
}
#endif'
    put cuda/emu/rt.h <<<'/* rt.h - the emulator. */
#ifndef TERN_EMU_RT_H
#define TERN_EMU_RT_H
#endif'
    put cuda/emu/rt.cpp <<<'/* rt.cpp - its code. */
#include "base/fine.h"
#include "rt.h"'
    put cuda/ptx.cuh <<<'/* ptx.cuh - the one door to the emulator. */
#ifndef TERN_CUDA_PTX_CUH
#define TERN_CUDA_PTX_CUH
#include "rt.h"
#endif'
    put runtime/base/limit.c < <(say_wide 100 limit && function_of 'int tern_limit' 60)
    for name in device engine; do
        put include/tern/$name.h <<<"/* $name.h - public. */
#ifndef TERN_${name}_H
#define TERN_${name}_H
#include \"tern/base.h\"
#endif"
    done
}

# function_of DECLARATION N: a function of N lines.
function_of() {
    printf '%s(void)\n{\n' "$1"
    repeat $(($2 - 3)) '    ;'
    printf '}\n'
}

style_cases() {
    local c='/* bad.c - bad. */' f=runtime/base/bad.c s=scripts/bad.sh
    bad 'has a tab' $f <<<"$c"$'\n\tint x;'
    bad 'ends in blanks' $f <<<"$c"$'\nint x; '
    bad 'ends in blanks' $f <<<"$c"$'\nint x;\r'
    bad 'newline' $f < <(printf '%s' "$c")
    bad 'is 101 columns wide' $f < <(say_wide 101 bad)
    bad 'has 601 lines' $f < <(echo "$c" && repeat 600 '')
    bad 'promises something for later' $f <<<"$c"$'\n/* TO''DO: more */'
    bad 'promises something for later' $s <<<$'#!/bin/sh\n# FIX''ME'
    bad 'folder of one machine' $s <<<$'#!/bin/sh\n# bad.\ncd /ho''me/me'
    bad 'does not begin with a comment' $f <<<'int x;'
    bad 'does not begin with a comment' $f <<<'/* other.c - a renamed file. */'
    bad 'does not begin with a comment' $s <<<$'#!/bin/sh\n\nexit 1'
    bad 'does not begin with a comment' cmake/bad.cmake <<<'include(x)'
    bad 'include guard' runtime/base/bad.h <<<'/* bad.h - bad. */'
    bad 'include guard' runtime/base/bad.h \
        <<<$'/* bad.h - b. */\n#ifndef BAD_H\n#define BAD_H\n#endif'
    bad 'file names are unique' cpu/fine.c <<<'/* fine.c - a second one. */'
    bad 'tern_long has 61 lines' $f < <(echo "$c" && function_of 'int tern_long' 61)
    bad 'k has 121 lines' cpu/x86/bad.c < <(echo "$c" && function_of 'static void k' 121)
    bad 'k has 121 lines' cuda/bad.cu < <(echo '// bad.cu - b.' &&
        function_of 'template <int N> __global__ void __launch_bounds__(256) k' 121)
    bad 'more than 7' $f <<<"$c"$'\nstatic int f(int, int, int, int, int,\n    int, int, int);'
    bad 'more than 7' $f <<<"$c"$'\nint tern_f(int, int, int, int, int, int, int, int)\n{\n}'
    bad 'helper is exported' $f <<<"$c"$'\nconst char *helper(int a)\n{\n}'
    bad 'helper is exported' $f \
        <<<"$c"$'\n__attribute__((cold)) int helper(\n    int a)\n{\n}'
    bad 'begin with cli_' runtime/cli/bad.c <<<"$c"$'\nint tern_x(void)\n{\n}'
    bad 'library code calls exit' $f <<<"$c"$'\nstatic void f(void)\n{\n    exit(1);\n}'
    bad 'library code calls printf' $f <<<"$c"$'\nstatic void f(void)\n{\n    printf("");\n}'
    bad 'reads more than 5 variables' $f < <(echo "$c" &&
        for v in B C D E F; do echo "const char *$v = getenv(\"TERN_$v\");"; done)
    bad 'has more than 5 options' cmake/bad.cmake < <(echo '# bad.' &&
        for v in B C D E F; do echo "option(TERN_$v \"\" ON)"; done &&
        echo 'set(TERN_G "" CACHE STRING "")')
}

includes_cases() {
    bad 'is not in the tree' runtime/base/bad.c <<<'#include "base/absent.h"'
    bad 'is not in the tree' runtime/base/bad.c <<<'#include <tern/absent.h>'
    bad 'is a source' tests/bad.c <<<'#include "runtime/base/fine.c"'
    bad 'outside the floors' runtime/base/bad.c <<<'#include "../../CMakeLists.txt"'
    bad 'a public header includes the private' include/tern/plan.h <<<'#include "base/fine.h"'
    bad 'not a C standard header' include/tern/plan.h <<<'#include <unistd.h>'
    bad 'base/ may not see device/' runtime/base/bad.c <<<'#include "tern/device.h"'
    bad 'base/ may not see device/' runtime/base/bad.c <<<'#  include "../device/backend.h"'
    bad 'device/ may not see cpu/' runtime/device/registry.c <<<'#include "cpu/kernels.h"'
    bad 'cuda/ may not see cpu/' cuda/bad.cu <<<'#include "cpu/kernels.h"'
    bad 'cuda/ may not see emu/' cuda/bad.cu <<<'#include "cuda/emu/rt.h"'
    bad 'emu/ may not see cuda/' cuda/emu/bad.cpp <<<'#include "cuda/launch.cuh"'
    bad 'is a source' tests/bad.cpp <<<'#include "cuda/emu/rt.cpp"'
    bad 'engine/ may not see cpu/' runtime/engine/bad.c <<<'#include "cpu/kernels.h"'
    bad 'model/ may not see engine/' runtime/model/bad.h <<<'#include "tern/engine.h"'
    bad 'plan/ calls no device' runtime/plan/bad.c <<<'#include "device/backend.h"'
    bad 'serve/ knows the engine' runtime/serve/bad.c <<<'#include "tern/device.h"'
    bad 'serve/ may not see base/' runtime/serve/bad.c <<<'#include "base/fine.h"'
    bad 'has no floor' runtime/attic/bad.c <<<''
    bad 'has no floor' include/tern/bad.h <<<''
}

# bad_kernel COMPLAINT LINE: the line inside the namespace of an otherwise good file.
bad_kernel() {
    bad "$1" cuda/bad.cu <<<$'/* bad.cu - bounded by bytes. */\nnamespace TERN_GPU {\n'"$2"$'\n}'
}

cuda_cases() {
    bad_kernel 'not one struct by value' 'static __global__ void k(int n);'
    bad_kernel 'not one struct by value' 'static __global__ void k(args *a);'
    bad_kernel 'not one struct by value' 'static __global__ void k(const args &a);'
    bad_kernel 'not one struct by value' 'static __global__ void k(args a, args b);'
    bad_kernel 'not one struct by value' \
        'template <int N> __global__ void __launch_bounds__(N) k(const unsigned n);'
    bad_kernel 'cannot be read' '__global__ void f;'
    bad_kernel 'launches a kernel' '    k<<<1, 32>>>(a);'
    bad_kernel 'launches a kernel' '    cudaLaunchKernelEx(&config, k, a);'
    bad_kernel 'declares shared memory' '    __shared__ int sum;'
    bad_kernel 'asks for __CUDA_ARCH__' '#if __CUDA_ARCH__ >= 800'
    bad_kernel 'contains PTX' '    asm("bar.sync 0;");'
    bad_kernel 'waits for memory' '    while (*(volatile int *)flag) {}'
    bad_kernel 'waits in a loop' '    while (atomicAdd(flag, 0) == 0) {}'
    bad_kernel 'cannot place' '__constant__ int table[4];'
    bad_kernel 'cooperative groups' 'namespace cg = cooperative_groups;'
    bad_kernel 'uses CUB' '#include <cub/cub.cuh>'
    bad_kernel 'C++ library' '    std::swap(a, b);'
    bad_kernel 'exceptions' '    throw 1;'
    bad_kernel 'has a class' 'class fine {};'
    bad_kernel 'has a class' 'struct fine { virtual int f(); };'
    bad_kernel 'allocates as C++' '    int *p = new int[4];'
    bad_kernel 'which lanes are active' '    x = __activemask();'
    bad_kernel 'all 32 lanes take part' '    x = __ballot_sync(mask, x);'
    bad_kernel 'all 32 lanes take part' '    x = __shfl_down_sync(0xffff, x, 1);'
    bad_kernel 'all 32 lanes take part' '    __syncwarp(0xffffu);'
    bad_kernel 'not all 32 lanes' '#define WARP_ALL 0xffffu'
    bad_kernel 'approximate arithmetic' '    x = __fdividef(x, y);'
    bad_kernel 'a mode of its own' '    x = __fadd_rz(x, y);'
    bad_kernel 'a library function' '    x = exp2f(x);'
    bad_kernel '1 kernels and 0 waits' '__global__ void k(args a) {}'
    bad 'no namespace' cuda/bad.cu <<<'/* bad.cu - bounded by bytes. */'
    bad 'does not predict' cuda/bad.cu \
        <<<$'/* bad.cu - fast. */\nnamespace TERN_GPU {\n__global__ void k(args a);\n}'
}

good_tree
"$check" "$tree" || fail "the good tree is refused"
"${1}_cases"
mkdir "$tree/empty"
! "$check" "$tree/empty" >/dev/null || fail "an empty tree is accepted"
echo "$cases cases, $failures failures"
[ "$failures" = 0 ]
