#!/usr/bin/env bash
# test_gpu_check.sh - gpu_check with programs, an nvidia-smi and a sanitizer that stand in: what it
# records when all is well, and that whatever goes wrong is in the JSON and in the exit status.
#
#   tests/test_gpu_check.sh
set -eu
check=$(cd "$(dirname "$0")/../scripts" && pwd -P)/gpu_check
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
build=$tree/build
mkdir -p "$build/tests" "$tree/bin"
export PATH="$tree/bin:$PATH"
unset CUDA_VISIBLE_DEVICES
failures=0
cases=0

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

# program FILE: a program that does what standard input says.
program() {
    { printf '#!/usr/bin/env bash\n' && cat; } >"$1"
    chmod +x "$1"
}

# run STATUS OPTION...: what it prints and writes.
run() {
    local want=$1 status=0
    shift
    cases=$((cases + 1))
    rm -f "$tree/out.json"
    printed=$("$check" --build "$build" --out "$tree/out.json" "$@" 2>&1) || status=$?
    [ "$status" = "$want" ] || fail "$*: exit status $status instead of $want:" "$printed"
    json=$(cat "$tree/out.json" 2>/dev/null) || fail "$*: no JSON is written"
    if perl -MJSON::PP -e 1 2>/dev/null; then
        printf '%s' "$json" | perl -MJSON::PP -0777 -e 'decode_json(<STDIN>)' ||
            fail "$*: no JSON:" "$json"
    fi
}

# has TEXT...
has() {
    local text
    for text in "$@"; do
        printf '%s\n' "$json" | grep -qF -- "$text" || fail "lacks '$text':" "$json"
    done
}

good_programs() {
    program "$build/tern" <<'END'
case $1 in
devices)
    printf 'cpu:0   a CPU, self-test passed\n'
    printf '%s  "H\\100", self-test passed\n' "$FAKE_DEVICE"
    ;;
run) printf 'a text' ;;
bench)
    printf '{"tests": [\n{\n"name": "tg8",\n"tok_s": 12.5,\n'
    printf '"spread": 0.02,\n"of_limit": 0.5\n}]}\n'
    ;;
esac
END
    for name in kerncheck ptxcheck ptxcheck_emu; do
        program "$build/tests/$name" <<<"echo '$name: 0 failures'"
    done
}

export FAKE_DEVICE=emu:0
good_programs
run 0 --quick --device emu:0
has '"passed": true' '"check": "kernels", "result": "passed"' '"check": "tokens-i8-i8"' \
    '\"H\\100\"' '"bench": "bench-tiny"' '"tok_s": 12.5' \
    '12.5 tok/s (spread 2 %, 50 % of the limit)'

program "$build/tests/kerncheck" <<<'echo "linear emu:0: FAIL"; exit 1'
run 1 --quick --device emu:0
has '"passed": false' '"check": "kernels", "result": "failed"' 'exit status 1: linear emu:0: FAIL' \
    '"check": "bench-tiny", "result": "passed"'

program "$build/tests/kerncheck" <<<'echo under way; sleep 60'
run 1 --quick --device emu:0 --seconds 3
has '"check": "kernels", "result": "failed"' 'ran past' 'under way' '"result": "not run"'

good_programs
program "$build/tern" <<'END'
case "$*" in
devices) echo 'emu:0 self-test passed' ;;
run*emu:0*i8*) printf 'another text' ;;
run*) printf 'a text' ;;
*) exit 5 ;;
esac
END
run 1 --quick --device emu:0
has '"check": "tokens-f16-i16", "result": "passed"' '"check": "tokens-i8-i16", "result": "failed"' \
    'differ' '"check": "bench-tiny", "result": "failed"' '"benches": ['

program "$build/tern" <<<'echo "emu:0 a GPU, self-test failed"'
run 1 --quick --device emu:0
has '"check": "device", "result": "failed"'

rm "$build/tern"
run 1 --quick --device emu:0
has '"check": "device", "result": "failed"'

# A GPU: its settings stand in the JSON, the sanitizer is used; the inspection has nothing to read.
good_programs
export FAKE_DEVICE=cuda:1
program "$tree/bin/nvidia-smi" <<'END'
[ "$2" = 1 ] || exit 1
case "$*" in
*-lms*) while echo '1980, 2619, 350.5, 45'; do sleep 0.1; done ;;
*=name*) echo 'NVIDIA Test 9000' ;;
*=compute_cap*) echo 9.0 ;;
*) echo '[N/A]' ;;
esac
END
program "$tree/bin/compute-sanitizer" <<'END'
[ "$2" != racecheck ] || { echo 'a hazard'; exit 9; }
echo '0 errors'
END
program "$build/tern" <<'END'
case $1 in
devices) printf 'cuda:1  NVIDIA Test, self-test passed\n' ;;
run) printf 'a text' ;;
bench) sleep 0.5 && printf '{"tests": []}\n' ;;
esac
END
run 1 --quick --device cuda:1
has '"gpu.name": "NVIDIA Test 9000"' '"gpu.compute_cap": "9.0"' '"gpu.pstate": "[N/A]"' \
    '"check": "memcheck-ptx", "result": "passed"' '"check": "racecheck-ptx", "result": "failed"' \
    '"clocks.sm": "1980"' '"power.draw": "350.5"' \
    '"check": "machine-code", "result": "failed"'

# Goals: the product's times are summed over a layer and held against floor, target and stretch.
judge=$(dirname "$check")/judge_goals
if perl -MJSON::PP -e 1 2>/dev/null; then
    cases=$((cases + 1))
    {
        printf '{"benches": [{"bench": "bench-gemm", "result": {"limits": {"read_gb_s": 4000},'
        printf '"rows": ['
        separator=
        for side in W1.58A8 'cuBLASLt fp16'; do
            for matrix in qkv attn_out gate_up down; do
                printf '%s{"preset": "2b4t", "matrix": "%s", "m": 1, "k": 2560, "n_out": 2560,' \
                    "$separator" $matrix
                printf '"side": "%s", "mode": "cold", "ns": %d}' "$side" \
                    $([ "$side" = W1.58A8 ] && echo 2000 || echo 10000)
                separator=,
            done
        done
        for matrix in qkv attn_out gate_up down; do
            printf ',{"preset": "2b4t", "matrix": "%s", "m": 1, "k": 2560, "n_out": 2560,' $matrix
            printf '"side": "W1.58A8", "mode": "stream", "ns": 1000}'
        done
        printf ']}}, {"bench": "bench-2b4t", "result": {"tests": [{"name": "tg128",'
        printf '"tok_s": 916}]}}]}'
    } >"$tree/benches.json"
    json=$("$judge" "$tree/benches.json")
    has '"goal": "M=1 vs fp16", "value": 5, "floor": 3.5' '"stretch": 6, "met": "target"' \
        '"goal": "M=1 in a graph, of read", "value": 0.4096' '"value": 916' '"met": "none"'
    [ "$(printf '%s\n' "$json" | wc -l)" = 3 ] || fail "three goals expected:" "$json"
fi

for wrong in '--device cpu' '--device cuda:x' '--seconds x' '--fast' '--out'; do
    cases=$((cases + 1))
    # shellcheck disable=SC2086
    ! "$check" $wrong >/dev/null 2>&1 || fail "$wrong: accepted"
done

echo "test_gpu_check.sh: $cases cases, $failures failures"
[ "$failures" = 0 ]
