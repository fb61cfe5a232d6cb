#!/usr/bin/env bash
# test_cli_serve.sh - `tern serve` as a person starts it: the file of keys, and what is refused
# before anything listens. What the server answers is tested in test_serve*.c.
#
#   tests/test_cli_serve.sh TERN MODEL
set -eu
tern=$1
. "$(dirname "$0")/cli.sh"

# answers KEY: the status with which the server lists its models to this key.
answers() {
    exec 3<>"/dev/tcp/127.0.0.1/$port"
    printf 'GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n' "$1" \
        'Connection: close' >&3
    head -n 1 <&3 | cut -d' ' -f2
    exec 3>&-
}

# serve FILE [OPTION...]: starts a server with these keys; $port says where it listens.
serve() {
    "$tern" serve -t 1 -c 64 --port 0 --api-key-file "$@" >"$tmp/out" 2>"$tmp/err" &
    server=$!
    trap 'kill $server 2>/dev/null || true; rm -rf "$tmp"' EXIT
    for _ in $(seq 600); do
        grep -q '^listening' "$tmp/out" && break
        kill -0 $server 2>/dev/null || break
        sleep 0.1
    done
    port=$(sed -n 's,^listening on http://.*:,,p' "$tmp/out")
}

test_keys() {
    printf '%s\n' '# two people' first '#second' '  third  # of March' '#' 'fourth#' >"$tmp/keys"
    serve "$tmp/keys"
    for pair in first:200 third:200 fourth#:200 second:401 of:401 '#:401' nobody:401; do
        cases=$((cases + 1))
        [ "$(answers "${pair%:*}")" = "${pair#*:}" ] || fail "not as it should be: $pair"
    done
    kill $server
    wait $server || fail "the server ended with $?"
    trap 'rm -rf "$tmp"' EXIT
}

# A checking device has no speed to plan with, and serves all the same.
test_checking() {
    echo key >"$tmp/key"
    serve "$tmp/key" -d check:cpu
    cases=$((cases + 1))
    [ "$(answers key)" = 200 ] || fail "a checking device does not serve: $(cat "$tmp/err")"
    kill $server
    wait $server || fail "the server ended with $?"
    trap 'rm -rf "$tmp"' EXIT
}

test_refused() {
    refused 2 'cannot open none' serve --api-key-file "$tmp/none"
    printf '# nobody\n#\n\n' >"$tmp/empty"
    refused 2 'holds no key' serve --api-key-file "$tmp/empty"
    printf 'one two\n' >"$tmp/words"
    refused 2 'line 1' serve --api-key-file "$tmp/words"
    printf 'short\n%0257d\n' 0 >"$tmp/long"
    refused 2 'line 2 256 bytes' serve --api-key-file "$tmp/long"
    seq 1 1025 >"$tmp/many"
    refused 2 'more than 1024' serve --api-key-file "$tmp/many"
}

test_keys
test_checking
test_refused
summary
