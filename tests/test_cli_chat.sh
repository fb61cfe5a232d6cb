#!/usr/bin/env bash
# test_cli_chat.sh - `tern chat` through a pipe, and on a terminal where tmux can play one: answers,
# history, Ctrl-C, the end.
#
#   tests/test_cli_chat.sh TERN
set -eu
tern=$1
. "$(dirname "$0")/cli.sh"

# talk TEXT ARGS...: the text, with \n for the lines, to tern chat.
talk() {
    local text=$1
    shift
    code=0
    cases=$((cases + 1))
    printf "$text" >"$tmp/in"
    timeout 60 "$tern" chat -t 1 "$@" <"$tmp/in" >"$tmp/out" 2>"$tmp/err" || code=$?
}

# said WORDS: all of them on standard error.
said() {
    for word in $1; do
        grep -qF -e "$word" "$tmp/err" || fail "no '$word' in: $(cat "$tmp/err")"
    done
}

test_base_model() {
    talk 'Once upon a time\n\nIt was\n' -n 8
    [ "$code" = 0 ] && [ "$(wc -l <"$tmp/out")" -ge 2 ] || fail "two lines: $(cat "$tmp/out")"
    said 'base continues text'
    cp "$tmp/out" "$tmp/two"
    talk 'Once upon a time' -n 8 # no newline at the end
    cp "$tmp/out" "$tmp/one"
    fine run -p 'Once upon a time' -n 8 -t 1
    head -c "$(wc -c <"$tmp/out")" "$tmp/one" | cmp -s - "$tmp/out" || fail 'run says another thing'
    cmp -s "$tmp/one" <(head -n "$(wc -l <"$tmp/one")" "$tmp/two") || fail 'a line changes the next'
}

test_template() {
    talk 'Hi\nAnd?\n' --chat-template bitnet -n 8 --json --system 'Be brief.'
    [ "$code" = 0 ] && [ "$(grep -c '"role":"assistant"' "$tmp/out")" = 2 ] || fail 'two answers'
    [ ! -s "$tmp/err" ] || fail "standard error: $(cat "$tmp/err")"
    cp "$tmp/out" "$tmp/with"
    talk 'Hi\nAnd?\n' --chat-template bitnet -n 8 --json
    cmp -s "$tmp/with" "$tmp/out" && fail 'the system message changes nothing'
    sed -n 1p "$tmp/out" >"$tmp/first"
    talk 'Hi\n/clear\nHi\n' --chat-template bitnet -n 8 --json
    [ "$(sort -u "$tmp/out" | cmp - "$tmp/first" && wc -l <"$tmp/out")" = 2 ] || fail '/clear'
    talk 'Hi\nHi\n' --chat-template bitnet -n 8 --json
    [ "$(sort -u "$tmp/out" | wc -l)" = 2 ] || fail 'the second turn does not see the first'
}

test_ends() {
    talk '/exit\nHi\n'
    [ "$code" = 0 ] && [ ! -s "$tmp/out" ] || fail '/exit goes on'
    talk '/help\n/bogus\n'
    said '/clear /exit /bogus'
    talk '' && [ "$code" = 0 ] || fail 'nothing to read'
    talk 'one two three four five\n' --chat-template bitnet -c 16
    [ "$code" = 2 ] || fail "a prompt beyond the context: exit code $code"
    said 'tokens context 16'
    talk 'one\n' -c 8 --temp 0
    said 'context 8 full'
    refused 2 'klingon chatml' chat --chat-template klingon
    talk "Hi\n" --chat-template chatml
    [ "$code" = 2 ] || fail "a token that the vocabulary lacks: exit code $code"
    said "<|im_start|> chatml"
}

# On a terminal of 200 columns. screen: what stands on it.
terminal() { tmux -L "$socket" -f /dev/null "$@"; }
screen() { terminal capture-pane -J -p -t $session; }

# shows TEXT: waits until the screen does.
shows() {
    local i
    cases=$((cases + 1))
    for ((i = 0; i < 200; i++)); do
        screen | grep -qF -e "$1" && return
        sleep 0.1
    done
    fail "the terminal does not show '$1':" "$(screen)"
}

# begin ARGS: tern chat on the terminal; its exit code is shown at the end.
begin() {
    session=chat$((${session#chat} + 1)) # a server without a session ends
    terminal new-session -d -s $session -x 200 -y 24 \
        "$environment '$tern' chat -t 1 $*; echo \"code \$?\"; sleep 60"
}

# is_bold: the prompt is.
is_bold() { terminal capture-pane -e -p -t $session | grep -q $'\033\\[1m>'; }

type_keys() { terminal send-keys -t $session "$@"; }

test_terminal() {
    environment='env TERN_CPU=ref'
    begin --json --temp 0 --history "$tmp/history"
    shows 'base model'
    shows '>'
    type_keys 'forgotten' C-c # a line may be given up
    type_keys 'Once upon a time' Enter
    sleep 0.5
    type_keys C-c # stops the answer, not the program
    shows '"finish":"cancelled"'
    type_keys 'It was' Enter
    sleep 0.5
    type_keys C-c
    type_keys Up Up # the history
    shows '> Once upon a time'
    type_keys C-u 'gr' $'\xc3\xbc' 'n' C-a $'\xe2\x82\xac'
    shows $'> \xe2\x82\xacgr\xc3\xbcn'
    type_keys C-u C-d
    shows 'code 0'
    grep -q 'Once.*time' "$tmp/history" || fail 'the history is not kept'
    is_bold || fail 'the prompt has no colour'
    environment='env NO_COLOR=1'
    begin --history "$tmp/history"
    shows '>'
    type_keys Up
    shows '> It was'
    type_keys C-u '/exit' Enter
    shows 'code 0'
    is_bold && fail 'NO_COLOR is not heard'
    terminal kill-server
}

test_base_model
test_template
test_ends
if command -v tmux >/dev/null; then
    socket=tern-test-$$ session=chat0
    trap 'terminal kill-server 2>/dev/null || true; rm -rf "$tmp"' EXIT
    test_terminal
else
    echo 'without tmux, nothing is tried on a terminal'
fi
summary
