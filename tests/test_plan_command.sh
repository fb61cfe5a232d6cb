#!/usr/bin/env bash
# test_plan_command.sh - `tern plan`, `tern calibrate` and --plan as a person calls them: exit
# codes, sentences, files of this and other machines, tight budgets. No time is asserted.
#
#   tests/test_plan_command.sh TERN MODEL
set -eu
tern=$1
model=$2
failures=0
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export XDG_CONFIG_HOME=$folder/config # nobody's own profiles

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

# ends CODE TEXT COMMAND...: exit code, nothing on standard output, a sentence with this text.
ends() {
    local code=$1 text=$2 said status=0
    shift 2
    said=$("$tern" "$@" 2>&1 >"$folder/out") || status=$?
    [ "$status" = "$code" ] || fail "$*: exit code $status instead of $code: $said"
    [ ! -s "$folder/out" ] || fail "$*: wrote to standard output"
    has "$said" "$text"
}

# What is planned.
has "$("$tern" plan --preset 2b4t)" 'layers   0-29' 'cpu:0' 'weights' '499.5' 'tok/s' 'never calib'
has "$("$tern" plan "$model" --explain)" 'a decode step' 'bound by' 'rejected' 'the cliff'
hybrid=$("$tern" plan --preset 2b4t --device cpu,profile:rtx4060-laptop --mem cuda:0=1GiB --explain)
has "$hybrid" 'cuda:0' 'does not fit' 'known by its profile only' 'estimated' 'head alone on cuda:0'
for what in '100b -d profile:ryzen-7950x --mem host=60GiB' '70b -d cpu,profile:rtx4090 -c 4096' \
    '27b -d profile:core-i7-12700h,profile:rtx3060-laptop --mem cuda:0=5GiB -c 8192'; do
    has "$("$tern" plan --preset $what --explain)" 'tok/s' 'bound by' 'MiB'
done
has "$("$tern" plan --preset 2b4t -d cpu,profile:l4 --pin blk.0-20=host)" \
    'warning: everything fits on cuda:0'
json=$("$tern" plan "$model" --json -d cpu,profile:l4 --pin ffn=cuda:0,kv=host)
has "$json" '"tern_plan": 1' '"absent": true' '"attn": "cpu:0"' '"ffn": "cuda:0"' '"total_bytes"'

# What does not fit, and what nobody should ask.
ends 4 'it would with --mem cpu:0=' plan --preset 2b4t --mem host=1MiB
ends 4 '--strict no-host forbids' plan --preset 2b4t --strict no-host
ends 4 '-c ' plan --preset 2b4t --mem host=1300MiB --strict no-shrink
has "$("$tern" plan --preset 2b4t --mem host=1300MiB)" "of the model's 4096"
ends 2 'contradicts' plan --preset tiny -d cpu,profile:a10 --pin head=host,head=cuda:0
ends 2 "there is no profile 'voodoo2'" plan --preset tiny -d profile:voodoo2
ends 2 "there is no device 'tpu'" plan --preset tiny -d tpu
ends 2 'stands twice' plan --preset tiny -d cpu,cpu:0
ends 2 "'check:cpu' compares two devices" plan --preset tiny -d check:cpu
ends 2 "'check:cpu' compares two devices" run -m "$model" -p a --plan auto -d check:cpu
ends 2 '--strict is' plan --preset tiny --strict no-fun
ends 2 'is no amount of memory' plan --preset tiny --mem host=lots
ends 2 'more than one model' plan --preset tiny "$model"
ends 2 'do not fit into the context' plan --preset tiny -c 64 --prompt 64 --out 2
ends 2 'cannot open' plan --preset tiny --profile "$folder/none.json"

# Plan files: saved, compared, run; of another model, another machine, hardware that is not here.
"$tern" plan "$model" --save "$folder/a.json" -c 128 --chunk 32 >/dev/null 2>&1
"$tern" plan "$model" --save "$folder/b.json" -c 256 --kv i8 >/dev/null 2>&1
"$tern" plan "$model" --save "$folder/gpu.json" -d cpu,profile:l4 --pin blk=cuda:0 >/dev/null 2>&1
has "$("$tern" plan --compare "$folder/a.json" "$folder/b.json")" 'cpu:0, MiB' 'decode, tok/s'
has "$("$tern" plan --compare --json "$folder/a.json" "$folder/b.json")" \
    '"what": "decode, tok/s"' '"layers_elsewhere": 0'
ends 2 'wants two plan files' plan --compare "$folder/a.json"
plain=$("$tern" run -m "$model" -p a -n 5 --temp 0 -t 1 2>/dev/null)
for plan in "$folder/a.json" auto; do
    planned=$("$tern" run -m "$model" -p a -n 5 --temp 0 -t 1 --plan "$plan" 2>"$folder/err")
    [ "$plain" = "$planned" ] || fail "--plan $plan changed the answer"
    has "$(cat "$folder/err")" 'plan: cpu:0' 'predicted: prefill'
done
has "$("$tern" bench -m "$model" --plan auto --pp 8 --tg 4 --reps 1 -t 1 2>/dev/null)" 'predicted'
sed 's/"hardware": ".*"/"hardware": "Z80"/' "$folder/a.json" >"$folder/z80-plan.json"
ends 2 'made on another machine' run -m "$model" -p a --plan "$folder/z80-plan.json"
ends 2 'which was not there' run -m "$model" -p a --plan "$folder/gpu.json"
ends 2 'another model' run -p a --plan "$folder/a.json"
echo '{"x": 1}' >"$folder/x.json"
ends 2 'is no plan' run -m "$model" -p a --plan "$folder/x.json"
ends 2 'is no file of profiles' plan --preset tiny --profile "$folder/x.json"
ends 2 'cannot open' run -m "$model" -p a --plan "$folder/none.json"
ends 2 'are needed' bench -m "$model" --plan "$folder/a.json" --pp 200 --tg 4 --reps 1
ends 2 'steps of 32 tokens, not 64' \
    serve -m "$model" --plan "$folder/a.json" --parallel 1 --batch 64
sed 's/"chunk": 32/"chunk": 2/; s/"seqs": 1/"seqs": 4/' "$folder/a.json" >"$folder/chunk.json"
ends 2 'chunk is smaller than its seqs' run -m "$model" -p a --plan "$folder/chunk.json"
ends 2 'leave -d out' run -m "$model" -p a --plan "$folder/a.json" -d cpu:1
ends 2 'is for KV f16' run -m "$model" -p a --plan "$folder/a.json" --kv i8
ends 2 'head i16' run -m "$model" -p a --plan "$folder/a.json" --head i8
"$tern" run -m "$model" -p a -n 1 --plan "$folder/b.json" --kv i8 >/dev/null 2>&1 ||
    fail 'the type that the plan has was refused'
ends 2 'names a profile' run -m "$model" -p a --plan auto -d cpu,profile:l4

# Profiles of another machine, of another version; a calibration that fails.
foreign='{"tern_profiles": 3, "profiles": [{"name": "cpu:0", "kind": "cpu", "hardware": "Z80",
  "threads": 1, "memory_mib": 64, "estimated": true, "read_gb_s": 1, "int8_gmac_s": 1,
  "f32_gfma_s": 1}]}'
printf '%s' "$foreign" >"$folder/z80.json"
ends 2 "was measured on 'Z80'" plan --preset tiny --profile "$folder/z80.json"
printf '%s' "${foreign/: 3,/: 7,}" >"$folder/old.json"
ends 2 'has version 7' plan --preset tiny --profile "$folder/old.json"
mkdir -p "$XDG_CONFIG_HOME/tern"
cp "$folder/z80.json" "$XDG_CONFIG_HOME/tern/profiles.json"
has "$("$tern" plan --preset tiny)" 'never calibrated' # found by chance: no error
cp "$folder/old.json" "$XDG_CONFIG_HOME/tern/profiles.json"
has "$("$tern" plan --preset tiny)" 'has version 7' 'a guess' # the same
ends 2 "there is no device 'tpu'" calibrate -d tpu -o "$folder/p.json"
ends 2 'name the device alone' calibrate -d check:cpu -o "$folder/p.json"
[ ! -e "$folder/p.json" ] || fail 'a failed calibration left a file'

printf 'test_plan_command.sh: %d failures\n' "$failures"
[ "$failures" = 0 ]
