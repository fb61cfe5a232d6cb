# cli.sh - sourced by the tests of the program: calls it and judges what comes back. The variable
# `tern` holds the program; $tmp is a folder that goes when the test ends.
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
failures=0 cases=0
unset TERN_CPU

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

# call ARGS: runs tern; its exit code to $code, its output to $tmp/out and $tmp/err.
call() {
    code=0
    cases=$((cases + 1))
    timeout 60 "$tern" "$@" >"$tmp/out" 2>"$tmp/err" </dev/null || code=$?
}

# fine ARGS: exit code 0.
fine() {
    call "$@"
    [ "$code" = 0 ] || fail "tern $*: exit code $code: $(cat "$tmp/err")"
}

# refused CODE WORDS ARGS: that exit code, one sentence with all the words, and no other output.
refused() {
    local wanted=$1 words=$2
    shift 2
    call "$@"
    [ "$code" = "$wanted" ] || fail "tern $*: exit code $code instead of $wanted"
    [ ! -s "$tmp/out" ] || fail "tern $*: on standard output: $(head -c 200 "$tmp/out")"
    [ "$(wc -l <"$tmp/err")" = 1 ] || fail "tern $*: not one line: $(cat "$tmp/err")"
    grep -q '^tern: ' "$tmp/err" || fail "tern $*: says $(cat "$tmp/err")"
    for word in $words; do
        grep -qF -e "$word" "$tmp/err" || fail "tern $*: no '$word' in: $(cat "$tmp/err")"
    done
}

# is_json: the last output parses.
if perl -MJSON::PP -e 1 2>/dev/null; then
    is_json() { perl -MJSON::PP -0777 -ne 'decode_json($_)' "$tmp/out" 2>/dev/null; }
elif python3 -c 'import json' 2>/dev/null; then
    is_json() { python3 -c 'import json, sys; json.load(sys.stdin)' <"$tmp/out" 2>/dev/null; }
else
    echo 'without perl with JSON::PP or python3, JSON is not parsed here'
    is_json() { [ -s "$tmp/out" ]; }
fi
json() {
    fine "$@"
    is_json || fail "tern $*: no JSON: $(head -c 200 "$tmp/out")"
}

# summary: the last line of a test and its exit code.
summary() {
    echo "$cases cases, $failures failures"
    [ $failures = 0 ]
}
