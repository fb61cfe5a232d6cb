#!/usr/bin/env bash
# client_curl.sh - `tern serve` as people try it from a shell: README's request, a stream, a key,
# a body that is no JSON, a client that hangs up.
#
#   tests/client_curl.sh TERN
set -euo pipefail

tern=$1
work=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server" 2>/dev/null; wait; rm -rf "$work"' EXIT

fail() {
    echo "client_curl: $*" >&2
    exit 1
}

# has TEXT PART: the text holds the part.
has() { case $1 in *"$2"*) ;; *) fail "'$2' is not in: $1" ;; esac; }

echo key-1 >"$work/keys"
"$tern" serve --port 0 -t 1 --api-key-file "$work/keys" >"$work/out" &
server=$!
for _ in $(seq 300); do
    grep -q http "$work/out" && break
    sleep 0.1
done
url=$(sed -n 's/^listening on //p' "$work/out")
[ -n "$url" ] || fail "the server did not start"
key='Authorization: Bearer key-1'

answer=$(curl -sS --max-time 60 -H "$key" "$url/v1/completions" \
    -d '{"prompt": "It was", "max_tokens": 20, "seed": 7}')
has "$answer" '"object":"text_completion"'
has "$answer" '"completion_tokens":20'
[ "$answer" ] || fail "no answer"

again=$(curl -sS --max-time 60 -H "$key" "$url/v1/completions" \
    -d '{"prompt": "It was", "max_tokens": 20, "seed": 7}')
text() { sed 's/.*"text":"\([^"]*\)".*/\1/' <<<"$1"; }
[ "$(text "$answer")" = "$(text "$again")" ] || fail "the same request, another answer"

stream=$(curl -sSN --max-time 60 -H "$key" "$url/v1/chat/completions" \
    -d '{"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4, "stream": true}')
has "$stream" 'data: {'
has "$stream" 'data: [DONE]'

code() { curl -sS --max-time 60 -o "$work/body" -w '%{http_code}' "$@"; }
[ "$(code "$url/v1/models")" = 401 ] || fail "no key was asked for"
[ "$(code "$url/health")" = 200 ] || fail "/health wants a key"
[ "$(code -H "$key" "$url/plan")" = 200 ] || fail "no plan"
[ "$(code -H "$key" "$url/v1/completions" -d '{')" = 400 ] || fail "half a body was taken"
has "$(cat "$work/body")" '"error"'

# Hangs up amid a long answer; the server ends it and, told so, itself.
curl -sSN --max-time 0.5 -H "$key" "$url/v1/completions" -o "$work/cut" \
    -d '{"prompt": "A", "max_tokens": 500, "ignore_eos": true, "stream": true, "n": 8}' || true
for _ in $(seq 100); do
    running=$(curl -sS --max-time 60 -H "$key" "$url/metrics" | grep '^vllm:num_requests_running')
    case $running in *' 0') break ;; esac
    sleep 0.1
done
has "$running" ' 0'
kill -TERM "$server"
wait "$server" || fail "the server ended with status $?"
server=
