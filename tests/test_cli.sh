#!/usr/bin/env bash
# test_cli.sh - the program as people meet it: exit codes, one sentence on standard error, answers
# alone on standard output, and the same answer however it is computed.
#
#   tests/test_cli.sh TERN GOLDEN_MODEL
set -eu
tern=$1 golden=$2
. "$(dirname "$0")/cli.sh"

# text_of NAME ARGS: the answer of `tern run` to a file.
text_of() {
    local name=$1
    shift
    fine run "$@"
    cp "$tmp/out" "$tmp/$name"
    [ -s "$tmp/$name" ] || fail "tern run $*: no answer"
}

same() { cmp -s "$tmp/$1" "$tmp/$2" || fail "the answers '$1' and '$2' differ"; }

test_help() {
    fine --version
    grep -qE '^tern [0-9]+\.[0-9]+\.[0-9]+$' "$tmp/out" || fail "version: $(cat "$tmp/out")"
    fine --help
    [ ! -s "$tmp/err" ] || fail 'help on standard error'
    local commands
    commands=$(awk '/^commands/ { on = 1; next } /^$/ { on = 0 } on { print $1 }' "$tmp/out")
    [ "$(echo "$commands" | wc -w)" -ge 4 ] || fail "too few commands: $commands"
    for command in $commands; do
        fine "$command" --help
        grep -q "^usage: tern $command" "$tmp/out" || fail "no usage of $command"
        fine "$command" -h
        refused 2 "--bogus $command" "$command" --bogus
    done
}

test_usage() {
    call
    [ "$code" = 2 ] && [ ! -s "$tmp/out" ] && grep -q '^usage' "$tmp/err" || fail 'no command'
    refused 2 'bogus --help' bogus
    refused 2 '--bogus' --bogus
    refused 2 "''" ''
    refused 2 '-p' run -p
    refused 2 '--prompt' run --prompt
    refused 2 'word' run word
    refused 2 'word' run -p x word
    refused 2 '-y' run -yn 3 -p x
    refused 2 '-q' run -p x -n 3 -q
    refused 2 '--json' run --json=yes
    for number in '' x 1x 0 -1 1.5 99999999999999999999; do
        refused 2 '--n-predict' run -p x -n "$number"
        refused 2 '--threads' run -p x -t "$number"
        refused 2 '--ctx' run -p x -c "$number"
    done
    for number in '' x -1 ' -1' 1.5 18446744073709551616; do
        refused 2 '--seed' run -p x -s "$number"
    done
    for number in '' x -1 101 nan inf 0.5x; do refused 2 '--temp' run -p x --temp "$number"; done
    refused 2 'temperature' run -p x --temp 1e-9
    refused 2 '--top-p' run -p x --top-p 1.1
    refused 2 '--kv f16|i8' run -p x --kv f32
    refused 2 '--head i16|i8' run -p x --head i
    refused 2 'gpu cpu' run -p x -d gpu
    refused 2 'cpu:0' run -p x -d cpu,cpu:0
    refused 2 'context' run -p x -c 16000000
    refused 2 '-p -f' run -p x -f "$tmp/prompt"
    refused 2 "$tmp/none" run -f "$tmp/none" -m "$tmp/unread.gguf" # before the model
    refused 2 "$tmp/none" tokenize -f "$tmp/none"
    refused 2 '16' run -p "$long" -c 16
    local n
    n=$(fine tokenize -p "$long" && wc -w <"$tmp/out")
    refused 2 "$n 16" run -p "$long" -c 16
}

test_levels() {
    export TERN_CPU=bogus
    refused 2 'bogus ref' run -p x
    refused 2 'bogus ref' verify
    call devices
    [ "$code" = 2 ] || fail "devices of an unknown level: exit code $code"
    export TERN_CPU=ref
    fine run -p x -n 1
    unset TERN_CPU
}

test_models() {
    head -c 5000 "$golden" >"$tmp/cut.gguf"
    : >"$tmp/empty.gguf"
    mkfifo "$tmp/fifo.gguf"
    for file in cut empty none fifo; do
        for command in run tokenize; do
            refused 3 "$tmp/$file.gguf" $command -p x -m "$tmp/$file.gguf"
        done
        refused 3 "$tmp/$file.gguf" verify -m "$tmp/$file.gguf"
    done
    refused 3 "$tmp" run -p x -m "$tmp"
    refused 3 "''" run -p x -m ''
    fine run -p x -m "$golden" -n 3
    fine verify -m "$golden"
}

test_answers() {
    text_of one -p "$prompt" -n 40 -t 1
    [ "$(wc -l <"$tmp/err")" -le 2 ] && grep -q 'tok/s' "$tmp/err" || fail 'no summary'
    grep -q 'tok/s' "$tmp/one" && fail 'the summary is on standard output'
    iconv -f utf-8 -t utf-8 "$tmp/one" >"$tmp/again" || fail 'no UTF-8'
    text_of again -p "$prompt" -n 40 -t 1 && same one again
    text_of two -p "$prompt" -n 40 -t 2 && same one two
    text_of five -p "$prompt" -n 40 -t 5 && same one five
    text_of elsewhere -p "$prompt" -n 40 -d cpu:1 -t 1 && same one elsewhere
    text_of both -p "$prompt" -n 40 -d cpu:0,cpu:1 -t 1 && same one both
    text_of context -p "$prompt" -n 40 -t 1 -c 200 && same one context
    text_of file -f "$tmp/prompt" -n 40 -t 1 && same one file
    timeout 60 "$tern" run -n 40 -t 1 <"$tmp/prompt" >"$tmp/stdin" 2>"$tmp/err" && same one stdin
    text_of seed -p "$prompt" -n 40 -t 1 -s 1
    cmp -s "$tmp/one" "$tmp/seed" && fail 'another seed gives the same answer'
    text_of greedy -p "$prompt" -n 20 --temp 0 -s 1
    text_of greedy2 -p "$prompt" -n 20 --temp 0 -s 2 && same greedy greedy2
    text_of i8 -p "$prompt" -n 10 --kv i8 --head i8
    iconv -f utf-8 -t utf-8 "$tmp/i8" >"$tmp/again" || fail 'no UTF-8'
    fine run -p x -c 8 --ignore-eos # until the context is full
    grep -q 'context of 8' "$tmp/err" || fail 'a full context is not mentioned'
}

test_json() {
    json run -p "$prompt" -n 8 --json
    grep -q '"finish": *"length"' "$tmp/out" || fail 'no finish'
    json run -p x -m "$golden" -n 200 --temp 5 --json # bytes that are no characters
    json verify --json
    json devices --json
    json tokenize -p "a \"quoted\" \\ $(printf '\001') text" --json
    fine tokenize -p "$prompt" --pieces
    fine verify
    grep -q '^ok .*memory' "$tmp/out" || fail 'verify says nothing of memory'
    printf '\377\000\376' >"$tmp/bytes"
    json tokenize -f "$tmp/bytes" --json
    json run -f "$tmp/bytes" -n 2 --json
}

# Stopped at any time, convert leaves the whole file or nothing.
test_convert_stopped() {
    local ms code
    mkdir "$tmp/stopped"
    for ms in 01 02 03 04 05 06 08 10 12 15 20 30; do
        code=0
        timeout --preserve-status -s TERM "0.0$ms" "$tern" convert "$golden" \
            -o "$tmp/stopped/x.gguf" >"$tmp/out" 2>"$tmp/err" || code=$?
        ! ls "$tmp/stopped" | grep -q part || fail "stopped after $ms ms: $(ls "$tmp/stopped")"
        [ $code = 0 ] || [ ! -e "$tmp/stopped/x.gguf" ] || fail "stopped after $ms ms: code $code"
        rm -f "$tmp/stopped/x.gguf"
    done
}

# A converted model answers as before; a refusal and a disk without room leave no file behind.
test_convert() {
    fine convert "$golden" -o "$tmp/converted.gguf"
    fine verify -m "$tmp/converted.gguf"
    text_of golden -m "$golden" -p x -n 20
    text_of converted -m "$tmp/converted.gguf" -p x -n 20 && same golden converted
    local folder
    folder=$(dirname "$golden")/llama-divide
    text_of folder -m "$folder" -p x -n 20
    fine convert "$folder" -o "$tmp/folder.gguf"
    text_of from_folder -m "$tmp/folder.gguf" -p x -n 20 && same folder from_folder
    json verify -m "$tmp/folder.gguf" --json
    fine tokenize -m "$folder" -p 'ab' && [ "$(cat "$tmp/out")" = '97 98' ] || fail 'ids of bytes'
    fine tokenize -m "$golden" --pretokenizer qwen2 -p '123' --json
    grep -q 'qwen2' "$tmp/out" || fail 'the pre-tokenizer is not overridden'
    refused 2 'klingon' tokenize -m "$golden" --pretokenizer klingon -p x
    refused 2 'exists' convert "$golden" -o "$tmp/converted.gguf"
    refused 2 '-o' convert "$golden"
    refused 2 'MODEL' convert -o "$tmp/x.gguf"
    refused 3 '/no' convert "$tmp/no" -o "$tmp/x.gguf"
    refused 1 'cannot create' convert "$golden" -o "$tmp/no/x.gguf"
    refused 2 "--i2s-layout" convert "$golden" -o "$tmp/x.gguf" --i2s-layout e
    code=0
    cases=$((cases + 1))
    (trap '' XFSZ && ulimit -f 100 && exec timeout 60 "$tern" convert "$golden" \
        -o "$tmp/x.gguf") >"$tmp/out" 2>"$tmp/err" || code=$?
    [ "$code" = 1 ] || fail "convert without room: exit code $code: $(cat "$tmp/err")"
    grep -q 'cannot write' "$tmp/err" || fail "convert without room: $(cat "$tmp/err")"
    ls "$tmp"/x.gguf* >/dev/null 2>&1 && fail 'a half file stays'
    return 0
}

test_full_disk() {
    [ -w /dev/full ] || return 0
    local arguments=('--version' '--help' 'run --help' 'run -p x -n 4' 'run -p x -n 4 --json'
        'verify' 'verify --json' 'devices' 'devices --json' 'tokenize -p x' 'tokenize -p x --json')
    for words in "${arguments[@]}"; do
        code=0
        cases=$((cases + 1))
        # shellcheck disable=SC2086
        timeout 60 "$tern" $words >/dev/full 2>"$tmp/err" || code=$?
        [ "$code" = 1 ] || fail "tern $words to a full disk: exit code $code"
        grep -q 'cannot write' "$tmp/err" || fail "tern $words to a full disk: $(cat "$tmp/err")"
    done
}

prompt='Once upon a time'
long='one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen'
printf '%s' "$prompt" >"$tmp/prompt"
test_help
test_usage
test_levels
test_models
test_answers
test_json
test_convert
test_convert_stopped
test_full_disk
summary
