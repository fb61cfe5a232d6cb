#!/usr/bin/env bash
# test_cuda.sh - the device cuda:0 as a person meets it where there is none: one sentence, exit code
# 5, nothing on standard output; the program needs no driver to start, and the CPU still works.
#
#   tests/test_cuda.sh TERN        exit status 77 where there is a GPU (scripts/gpu_check is for it)
set -eu
tern=$1
failures=0

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

listed=$("$tern" devices) || fail "tern devices: exit code $?"
case $listed in
*cuda:*)
    echo "test_cuda.sh: SKIP: this machine has a GPU"
    exit 77
    ;;
*cpu:0*) ;;
*) fail "no cpu:0 among the devices:" "$listed" ;;
esac

# refused COMMAND...
refused() {
    local said printed status=0
    said=$("$tern" "$@" 2>&1 >/dev/null </dev/null) || status=$?
    printed=$("$tern" "$@" 2>/dev/null </dev/null) || true
    [ "$status" = 5 ] || fail "$*: exit code $status instead of 5: $said"
    [ -z "$printed" ] || fail "$*: prints to standard output: $printed"
    [ "$(printf '%s\n' "$said" | wc -l)" = 1 ] || fail "$*: not one sentence: $said"
    case $said in
    *cuda:*) ;;
    *) fail "$*: the sentence does not name the device: $said" ;;
    esac
}

refused run --device cuda:0 -p "Once" -n 4
refused run --device cuda:7 -p "Once" -n 4
refused run --device cpu:0,cuda:0 -p "Once" -n 4
refused bench --device cuda:0 --preset tiny --pp 16 --tg 4 --reps 1
refused verify --device cuda:0

text=$("$tern" run --device cpu -p "Once" -n 4 --seed 1 2>/dev/null) || fail "the CPU: exit code $?"
[ -n "$text" ] || fail "the CPU: no text"
if needed=$(ldd "$tern" 2>/dev/null); then
    case $needed in
    *libcuda.so* | *libcudart* | *libnvidia*) fail "it needs a driver to start:" "$needed" ;;
    esac
fi

printf 'test_cuda.sh: %d failures\n' "$failures"
[ "$failures" = 0 ]
