#!/usr/bin/env bash
# test_cli_emu.sh - a whole model on emulated GPUs: the same text as on the CPU, for both types of
# the KV cache and of the head, on sm_90 and sm_75, alone and beside the CPU.
#
#   tests/test_cli_emu.sh TERN
set -eu
tern=$1
. "$(dirname "$0")/cli.sh"

# same DEVICES ARGS: the text of `tern run` there is that of the CPU.
same() {
    local devices=$1
    shift
    fine run -d cpu "$@"
    mv "$tmp/out" "$tmp/cpu"
    fine run -d "$devices" "$@"
    cmp -s "$tmp/cpu" "$tmp/out" || fail "$devices $*: $(cat "$tmp/out") instead of $(cat "$tmp/cpu")"
}

prompt='It was a dark night and the'
for kv in f16 i8; do
    for head in i16 i8; do
        same emu:0 --kv $kv --head $head -p "$prompt" -n 6 --seed 7
    done
done
same emu:1 -p "$prompt" -n 6 --temp 0
same emu:1 --kv i8 -p "$prompt" -n 4 --seed 8 --top-k 0 --top-p 0.9
same cpu,emu:0 -p "$prompt" -n 4 --seed 9
[ -s "$tmp/cpu" ] || fail 'the CPU wrote nothing'
summary
