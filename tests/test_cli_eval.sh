#!/usr/bin/env bash
# test_cli_eval.sh - `tern eval`: its numbers agree with each other where they are computed in two
# ways, and wrong input is one sentence.
#
#   tests/test_cli_eval.sh TERN GOLDEN_MODEL
set -eu
tern=$1 golden=$2
. "$(dirname "$0")/cli.sh"

# field NAME: the number of that name in the last JSON answer.
field() { sed -n "s/^ *\"$1\": *\([-0-9.e+]*\),\{0,1\}$/\1/p" "$tmp/out" | head -n 1; }

# near A B TOLERANCE
near() {
    cases=$((cases + 1))
    awk -v a="$1" -v b="$2" -v t="$3" 'BEGIN { exit !(a != "" && a - b <= t && b - a <= t) }' ||
        fail "$1 is not $2"
}

test_ppl() {
    json eval ppl -f "$tmp/text" -w 32 --json -t 1
    cp "$tmp/out" "$tmp/ppl"
    local ppl nats n
    ppl=$(field perplexity)
    nats=$(field nats_per_token)
    near "$(field windows)" $((tokens / 32)) 0
    near "$(field tokens)" $((tokens / 32 * 15)) 0
    near "$(awk -v x="$nats" -v p="$ppl" 'BEGIN { print exp(x) / p }')" 1 1e-4
    json eval ppl -w 32 --json -t 2 -p "$(cat "$tmp/text")"
    cmp -s "$tmp/out" "$tmp/ppl" || fail 'two threads give another perplexity'
    json eval kld -f "$tmp/text" -w 32 --json # the same, by way of the logits
    near "$(field perplexity)" "$ppl" 1e-6
    json eval ppl -f "$tmp/text" -w 32 --windows 2 --json
    near "$(field tokens)" 30 0
    json eval ppl -f "$tmp/text" -w 32 --stride 16 --json
    near "$(field tokens)" $((tokens - 1)) 0
    n=$(wc -c <"$tmp/text") # all of them: what nothing precedes is BOS
    near "$(awk -v b="$(field bits_per_byte)" -v x="$(field nats_per_token)" -v t="$tokens" \
        'BEGIN { print x * (t - 1) / log(2) / b }')" "$n" 0.5
    fine eval ppl -f "$tmp/text" -m "$golden" -w 16
    grep -q '^perplexity [0-9.]* +- [0-9.]*, ' "$tmp/out" || fail "answer: $(cat "$tmp/out")"
    refused 2 '600 512' eval ppl -f "$tmp/text" -w 600
    refused 2 'tokens 512' eval ppl -p 'too short'
    refused 2 '--stride 32' eval ppl -f "$tmp/text" -w 32 --stride 32
    for what in ppl kld mc; do # before the model
        refused 2 "$tmp/none" eval $what -f "$tmp/none" -m "$tmp/unread.gguf"
    done
}

test_kld() {
    json eval kld -f "$tmp/text" -w 32 --json -d cpu:0,cpu:1 -t 1
    near "$(field kld_max)" 0 0
    near "$(field same_top)" 1 0
    near "$(field tokens)" $((tokens / 32 * 15)) 0
    json eval kld -f "$tmp/text" -w 32 --json --kv i8 --base-kv i8
    near "$(field kld_max)" 0 0
    json eval kld -f "$tmp/text" -w 32 --json --kv i8 --head i8
    awk -v k="$(field kld)" -v m="$(field kld_max)" 'BEGIN { exit !(k > 0 && k < m && m < 0.2) }' ||
        fail "8 bits: $(cat "$tmp/out")"
    fine eval kld -f "$tmp/text" -w 32
    grep -q '^KL divergence 0 ' "$tmp/out" || fail "answer: $(cat "$tmp/out")"
    fine plan --save "$tmp/plan.json" --kv i8 -c 64 --prompt 8 --out 8
    call eval kld -f "$tmp/text" -w 32 --plan "$tmp/plan.json"
    [ "$code" = 2 ] || fail "a base of another KV type than asked for: exit code $code"
    refused 2 'vocabularies 4096' eval kld -f "$tmp/text" -w 32 --base "$golden"
    refused 3 "$tmp/none" eval kld -f "$tmp/text" --base "$tmp/none"
    refused 2 '--base-kv f16|i8' eval kld -f "$tmp/text" --base-kv x
}

test_mc() {
    cat >"$tmp/questions" <<'END'
{"context": "It was a dark and", "choices": ["stormy night", "qxzzy", "the of of"], "answer": 0}

{"context": "He took her by the", "choices": ["xylophone", "hand"], "answer": 1}
{"context": "He took her by the", "choices": ["xylophone", "hand"], "answer": 0}
END
    json eval mc -f "$tmp/questions" --json
    near "$(field questions)" 3 0
    near "$(field accuracy)" 0.66667 1e-4
    near "$(field chance)" 0.44444 1e-4
    grep -q '"line": 4' "$tmp/out" || fail 'the lines are not counted'
    fine eval mc -f "$tmp/questions"
    grep -q '^accuracy 0.6667' "$tmp/out" || fail "answer: $(cat "$tmp/out")"
    # ln p of a continuation, once more from the perplexity of the whole: a window of its own
    local text='the man and the woman went to the house in the rain' n
    fine tokenize -p "$text"
    n=$(wc -w <"$tmp/out")
    fine eval mc --json --delimiter '' \
        -p "{\"context\": \"\", \"choices\": [\"$text\", \"x\"], \"answer\": 0}"
    local sum
    sum=$(grep -A 1 '"logprobs"' "$tmp/out" | tail -n 1 | tr -d ' ,')
    json eval ppl -p "$text" -w "$n" --stride 1 --json
    near "$(awk -v x="$(field nats_per_token)" -v n="$n" 'BEGIN { print -x * (n - 1) }')" \
        "$sum" 1e-3
    refused 2 'line 1 JSON' eval mc -p '{"context"'
    refused 2 'line 2 question' eval mc -p "$(sed -n 1p "$tmp/questions")
{}"
    refused 2 'line 1 choices 2' eval mc -p '{"context": "a", "choices": ["b"], "answer": 0}'
    refused 2 'line 1 choice 1' eval mc -p '{"context": "a", "choices": ["b", ""], "answer": 0}'
    refused 2 'line 1 2 0 1' eval mc -p '{"context": "a", "choices": ["b", "c"], "answer": 2}'
    refused 2 'line 1 tokens 16' eval mc -c 16 \
        -p "{\"context\": \"$(cat "$tmp/line")\", \"choices\": [\"b\", \"c\"], \"answer\": 1}"
    refused 2 'no question' eval mc -p '  '
}

test_group() {
    refused 2 'eval ppl kld mc' eval
    refused 2 'bogus eval ppl kld mc' eval bogus
    fine eval --help
    grep -q 'eval ppl' "$tmp/out" || fail 'no help of eval'
    fine eval ppl --help
    grep -q '^usage: tern eval ppl' "$tmp/out" || fail 'no help of eval ppl'
}

printf 'It was the best of times, it was the worst of times, it was the age of wisdom' >"$tmp/line"
{
    cat "$tmp/line"
    printf ', it was the age of foolishness, it was the epoch of belief, it was the epoch of '
    printf 'incredulity, it was the season of Light, it was the season of Darkness, and the man '
    printf 'who had come from the town looked at her for a long time without a word.\n'
} >"$tmp/text"
fine tokenize -f "$tmp/text"
tokens=$(wc -w <"$tmp/out")
test_ppl
test_kld
test_mc
test_group
summary
