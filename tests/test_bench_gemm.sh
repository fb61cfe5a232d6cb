#!/usr/bin/env bash
# test_bench_gemm.sh - `tern bench --gemm` as a person calls it: without a GPU one sentence and exit
# code 5; wrong options 2; on an emulated device right results and no time.
#
#   tests/test_bench_gemm.sh TERN [emu]
set -eu
tern=$1
failures=0

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

# refused STATUS TEXT OPTION...: nothing on standard output, a sentence with this text.
refused() {
    local wanted=$1 text=$2 said printed status=0
    shift 2
    said=$("$tern" bench --gemm "$@" 2>&1 >/dev/null) || status=$?
    printed=$("$tern" bench --gemm "$@" 2>/dev/null) || true
    [ "$status" = "$wanted" ] || fail "--gemm $*: exit code $status instead of $wanted: $said"
    [ -z "$printed" ] || fail "--gemm $*: prints: $printed"
    case $said in *"$text"*) ;; *) fail "--gemm $*: lacks '$text': $said" ;; esac
    [ "$(printf '%s\n' "$said" | wc -l)" = 1 ] || fail "--gemm $*: not one sentence: $said"
}

"$tern" devices | grep -q '^cuda:' || refused 5 'cuda:0'
refused 2 'use cuda:N' --device cpu
refused 2 'needs no model' -m model.gguf
if [ "${2:-}" = emu ]; then
    said=$("$tern" bench --gemm --device emu:0 --preset tiny --batch 1,9 2>/dev/null)
    case $said in *'EMULATED: results are checked, nothing is timed'*) ;; *) fail "$said" ;; esac
    [ "$(printf '%s\n' "$said" | grep -c '| right | absent | absent |')" = 8 ] || fail "$said"
    refused 2 "is no preset" --device emu:0 --preset 7b
    refused 2 "numbers of tokens" --device emu:0 --preset tiny --batch 0
fi
echo "test_bench_gemm.sh: $failures failures"
[ "$failures" = 0 ]
