#!/usr/bin/env bash
# test_bench.sh - `tern bench` as a person calls it: the three forms of output have what they
# promise, and wrong options end with one sentence and exit code 2. No time is asserted.
#
#   tests/test_bench.sh TERN
set -eu
tern=$1
failures=0

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

# has TEXT WANTED...: the text contains each of these.
has() {
    local text=$1 wanted
    shift
    for wanted in "$@"; do
        printf '%s\n' "$text" | grep -qF -- "$wanted" || fail "lacks '$wanted':" "$text"
    done
}

# refused TEXT OPTION...: exit code 2, nothing on standard output, a sentence with this text.
refused() {
    local text=$1 said status=0
    shift
    said=$("$tern" bench "$@" 2>&1 >/dev/null) || status=$?
    [ "$status" = 2 ] || fail "bench $*: exit code $status instead of 2: $said"
    has "$said" "$text"
}

small="--preset tiny --pp 16 --tg 8 --reps 1 -t 1"

json=$("$tern" bench $small --json)
has "$json" '"machine"' '"commit"' '"level"' '"threads": 1' '"kv": "f16"' '"head": "i16"' \
    '"limits"' '"read_gb_s"' '"int8_gmac_s"' '"tests"' '"name": "pp16"' '"name": "tg8"' \
    '"tok_s"' '"spread"' '"limit_tok_s"' '"of_limit"' '"bytes"' '"samples"' '"engine_us"'

markdown=$("$tern" bench $small --depth 0,20 --batch 1,3 --kv i8 --head i8 -c 200)
has "$markdown" 'KV i8, head i8' '| test | threads |' '| pp16 | 1 |' '| tg8 | 1 |' \
    '| tg8@20 | 1 |' '| tg8x3 | 1 |' '| tg8x3@20 | 1 |'

# Prompts of whole pages, again and again and side by side: none may be found in the prefix cache.
"$tern" bench --preset tiny --pp 192 --tg 4 --depth 128 --batch 2 --reps 3 -t 1 > /dev/null

# More sequences than wait in a queue by default.
"$tern" bench --preset tiny --pp 0 --tg 2 --batch 100 --reps 1 -c 16 -t 1 > /dev/null

chunks=$("$tern" bench $small --chunk 5)
has "$chunks" '| pp16 | 1 |'

deep=$("$tern" bench $small --pp 0 --depth 20) # the context is sized by the tests
has "$deep" '| tg8@20 | 1 |'

csv=$("$tern" bench --pp 0 --tg 4 --reps 2 -t 2 --csv) # the embedded model
has "$csv" 'name,threads,tok_s,spread,limit_tok_s,of_limit,bytes' 'tg4,2,'
[ "$(printf '%s\n' "$csv" | wc -l)" = 2 ] || fail "two lines of CSV expected:" "$csv"

refused "'7b' is no preset: use one of 2b4t, large, 3b, llama3-8b, falcon3-1b" --preset 7b
whole=$("$tern" bench $small --pp 0 --tg 0 --pg 24,8 --json)
has "$whole" '"name": "pp24+tg8"' '"of_limit"'

refused '--pg is' --preset tiny --pg 24
refused '--pg is' --preset tiny --pg 24,0
refused 'nothing to time' --preset tiny --pp 0 --tg 0
refused '--depth is' --preset tiny --depth 0,x
refused '--depth is' --preset tiny --depth ''
refused '--batch is' --preset tiny --batch 0
refused '--reps is' --preset tiny --reps 0
refused 'use one of them' --preset tiny -m model.gguf
refused 'use one of them' --preset tiny --csv --json
refused '--ctx is 10' --preset tiny --pp 16 --tg 8 -c 10
refused 'this model takes 1 to 512' --preset tiny --pp 4096
refused 'is no option' --preset tiny --fast

# A device that is no CPU is held against rates of its own.
if "$tern" devices | grep -q '^emu:0'; then
    json=$("$tern" bench -d emu:0 --preset tiny --pp 4 --tg 2 --reps 1 --json)
    has "$json" '"level": "sm_90"' '"instructions": "sm_90"' '"read_gb_s"' '"name": "tg2"'
    case $json in *joules*) fail "an emulated device counts no energy:" "$json" ;; esac
fi

printf 'test_bench.sh: %d failures\n' "$failures"
[ "$failures" = 0 ]
