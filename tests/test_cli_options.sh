#!/usr/bin/env bash
# test_cli_options.sh - what is made from the tables of options: units, suggestions for what was
# mistyped, the manual page, the completions of the shells.
#
#   tests/test_cli_options.sh TERN
set -eu
tern=$1
. "$(dirname "$0")/cli.sh"

test_units() {
    refused 2 '1024 512' run -p x -c 1k
    refused 2 '2097152 512' run -p x -c 2M
    refused 2 '--ctx 3G' run -p x -c 3G
    refused 2 '--ctx 17M' run -p x -c 17M
    refused 2 '--ctx 1kk' run -p x -c 1kk
    refused 2 '--ctx k' run -p x -c k
    refused 2 '--max-body 512B 1024' serve --max-body 512B
    refused 2 '--max-body 2GiB 1073741824' serve --max-body 2GiB
    refused 2 '--max-body 4k' serve --max-body 4k
    refused 2 '65539 512' bench --depth 64k --pp 0 --tg 1
}

test_suggestions() {
    refused 2 '--json=1 no value' run --json=1
    refused 2 '--help=1 no value' run --help=1
    refused 2 'rum `tern run`?' rum
    refused 2 'tokenise `tern tokenize`?' tokenise
    refused 2 '--promt --prompt? --help' run --promt x
    refused 2 '--treads=2 --threads?' run --treads=2
    refused 2 '--hepl --help?' verify --hepl
    refused 2 'evil --help' evil ppl
    for typed in xyzzy r 'a very long word that is near to no command whatever one thinks of it'; do
        refused 2 '--help' "$typed"
        ! grep -q 'did you mean' "$tmp/err" || fail "a suggestion for '$typed'"
    done
}

# options_of COMMAND: its long options, as its help says.
options_of() {
    fine $1 --help
    grep -o -e '--[a-z][a-z0-9-]* ' "$tmp/out" | tr -d ' ' | sort -u
}

test_man() {
    fine man
    cp "$tmp/out" "$tmp/man"
    local command option
    while read -r command; do
        grep -qx ".SS tern $command" "$tmp/man" || fail "the manual lacks tern $command"
        for option in $(options_of "$command"); do
            [ "$option" = --help ] || sed 's/\\-/-/g' "$tmp/man" | grep -qF "\\fB$option\\fR" ||
                fail "the manual lacks $option of $command"
        done
    done <"$tmp/commands"
    if command -v groff >/dev/null; then
        groff -man -Tutf8 -ww -z "$tmp/man" 2>"$tmp/err" || fail 'groff fails'
        [ ! -s "$tmp/err" ] || fail "groff: $(cat "$tmp/err")"
    fi
}

# completes WANTED WORDS...: the words complete to the wanted ones, in bash.
completes() {
    local wanted=$1
    shift
    local got
    cases=$((cases + 1))
    got=$(
        . "$tmp/bash"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _tern
        printf '%s\n' "${COMPREPLY[@]}" | sort | paste -sd' '
    )
    [ "$got" = "$wanted" ] || fail "'$*' completes to '$got' instead of '$wanted'"
}

test_completion() {
    for shell in bash zsh fish; do
        fine completion $shell
        cp "$tmp/out" "$tmp/$shell"
        ! command -v $shell >/dev/null || $shell -n "$tmp/$shell" || fail "no $shell script"
        while read -r command; do
            for option in $(options_of "$command"); do
                grep -qF -e "${option#--}" "$tmp/$shell" || fail "$shell lacks $option"
            done
        done <"$tmp/commands"
    done
    completes run tern ru
    completes 'f16 i8' tern run --kv ''
    completes 'i16' tern run -t 2 --head i1
    completes '--pieces --pretokenizer --prompt' tern tokenize --p
    completes "$tmp/commands" tern run -f "$tmp/comm"
    completes '' tern run -p r
    completes 'bash' tern completion b
    refused 2 'bash, zsh fish' completion
    refused 2 'csh bash' completion csh
    refused 2 'bash' completion bash zsh
}

fine --help
sed -n '/^commands$/,/^$/s/^  \([a-z]*\( [a-z]*\)\{0,1\}\)  .*/\1/p' "$tmp/out" >"$tmp/commands"
[ "$(wc -l <"$tmp/commands")" -ge 7 ] || fail "commands: $(cat "$tmp/commands")"
test_units
test_suggestions
test_man
test_completion
summary
