#!/usr/bin/env bash
# test_cli_inspect.sh - `tern inspect`: contents and codes of a file, and that the doctor finds what
# was done to it.
#
#   tests/test_cli_inspect.sh TERN GOLDEN_MODEL
set -eu
tern=$1 golden=$2
. "$(dirname "$0")/cli.sh"

# has TEXT: the last output does.
has() { grep -qF -e "$1" "$tmp/out" || fail "no '$1' in: $(head -c 1500 "$tmp/out")"; }

# sick NAME: a copy of the golden model to be changed; its path in $file.
sick() {
    file=$tmp/$1.gguf
    cp "$golden" "$file"
}

# overwrite OFFSET: standard input into $file, from there on.
overwrite() { dd of="$file" bs=4096 seek="$1" oflag=seek_bytes conv=notrunc status=none; }

# add_key KEY TEXT: a text more in $file; spaces behind it keep the tensors aligned.
add_key() {
    perl -e '
        my ($file, $key, $text) = @ARGV;
        open my $in, "<:raw", $file or die; local $/; my $data = <$in>; close $in;
        $text .= " " while (8 + length($key) + 4 + 8 + length $text) % 32;
        my $n = unpack "Q<", substr $data, 16, 8;
        substr($data, 16, 8) = pack "Q<", $n + 1;
        substr($data, 24, 0) = pack "Q</a* L< Q</a*", $key, 8, $text;
        open my $out, ">:raw", $file or die; print $out $data;' "$file" "$1" "$2"
}

# replace FROM TO: texts of the file, with their lengths; both of one length in the end.
replace() {
    perl -0777 -pi -e 'BEGIN { ($a, $b) = splice @ARGV, 0, 2;
        $_ = pack "Q</a*", $_ for $a, $b } s/\Q$a\E/$b/ or die "no $a"' "$1" "$2" "$file"
}

# tensors: name, offset and bytes of each ternary one.
tensors() {
    fine inspect -m "$golden" --tensors
    sed -n 's/^  \(blk[^ ]*\) *I2_S .* at \([0-9]*\), \([0-9]*\) bytes.*/\1 \2 \3/p' "$tmp/out"
}

test_contents() {
    fine inspect
    has 'tern-demo, architecture bitnet-b1.58, 4.20 M parameters'
    has 'nothing looks wrong'
    has 'template none'
    fine inspect -m "$golden" --keys
    has 'general.name                                     "bitnet-tiny"'
    has '{"array": "string", "length": 384}'
    [ "$(tensors | wc -l)" = 21 ] || fail "tensors: $(cat "$tmp/out")"
    json inspect -m "$golden" --keys --tensors --json
    has '"bitnet-b1.58.hidden_activation": "relu2"'
    has '"findings": []'
    # the shares of a tensor of known codes
    sick known
    head -c 4096 /dev/zero | overwrite "$offset" # all codes 0, which is -1
    fine inspect -m "$file" --tensors
    grep -qE "^  $name .*-1 100.00 %, 0  0.00 %, \+1  0.00 %" "$tmp/out" || fail "shares: $name"
    has 'too few or too many zeros'
    has "first $name with 0.0 %"
    has '1 of 21 matrices'
}

test_doctor() {
    sick code3
    printf '\377' | overwrite "$offset"
    call inspect -m "$file"
    [ "$code" = 3 ] || fail "code 3: exit code $code"
    has "problem: 1 rows of 1 matrices are not ternary, first row 0 of $name"
    call inspect -m "$file" --json
    [ "$code" = 3 ] && is_json || fail 'code 3 as JSON'

    sick scales # 1000.0 in place of every scale
    tensors | while read -r _ at bytes; do
        printf '\000\000\172\104' | overwrite $((at + bytes - 32))
    done
    fine inspect -m "$file"
    has 'warning: the scales, 1000 in the middle, are far too large'

    sick activation
    replace relu2 silu
    replace bitnet-tiny bitnet-tinyX
    fine inspect -m "$file"
    has 'warning: the activation is silu'

    sick bogus # what 2B4T's own file does
    add_key tokenizer.chat_template 'Human: BITNETAssistant: '
    fine inspect -m "$file"
    has 'template bitnet'
    has "note: the chat template in the file is not the one that 2B4T was trained with"
    sick template
    replace '<|eot_id|>' '<|eox_id|>'
    add_key tokenizer.chat_template '[INST] {{ message }}'
    fine inspect -m "$file"
    has 'the chat template is none that Tern knows'
    refused 2 'template --chat-template' chat -m "$file"
    sick chatml
    replace '<|eot_id|>' '<|eox_id|>'
    add_key tokenizer.chat_template '<|im_start|>{{ message }}'
    fine inspect -m "$file"
    has 'template chatml'
    has "needs the token '<|im_start|>'"
}

# A head that repeats the table, as one tensor more behind the others. Its entry and a key that is
# there for its length move the data by whole units of alignment.
test_doubled_head() {
    sick head
    local at bytes
    fine inspect -m "$golden" --tensors
    read -r at bytes < <(
        sed -n 's/^  token_embd.* at \([0-9]*\), \([0-9]*\) bytes.*/\1 \2/p' "$tmp/out"
    )
    perl -e '
        my ($file, $at, $bytes) = @ARGV;
        open my $in, "<:raw", $file or die; local $/; my $data = <$in>; close $in;
        $data .= "\0" x (-length($data) % 32);
        my $info = pack "Q</a* L< Q< Q< L< Q<",
            "output.weight", 2, 128, 384, 1, length($data) - $at;
        my $key = pack "Q</a* L< Q</a*", "test.pad", 8, "x" x ((4 - length $info) % 32);
        $data .= substr $data, $at, $bytes;
        substr($data, index($data, pack "Q</a*", "token_embd.weight"), 0) = $info;
        substr($data, 24, 0) = $key;
        substr($data, 8, 16) = pack "Q<Q<", map { $_ + 1 } unpack "Q<Q<", substr $data, 8, 16;
        open my $out, ">:raw", $file or die; print $out $data;' "$file" "$at" "$bytes"
    fine inspect -m "$file"
    has 'separate head'
    has 'warning: output.weight repeats token_embd.weight: 0.1 MiB'
}

test_files_of_others() {
    sick arch
    replace bitnet-b1.58 bitnet-b1.59
    call inspect -m "$file"
    [ "$code" = 3 ] && grep -q 'bitnet-b1.59' "$tmp/err" || fail "another architecture: $code"
    has 'I2_S (36): 21 tensors'
    call inspect -m "$file" --json
    is_json || fail 'another architecture as JSON'
    has '"error"'
    refused 3 "$tmp/none" inspect -m "$tmp/none"
    head -c 3000 "$golden" >"$tmp/cut.gguf"
    refused 3 "$tmp/cut.gguf" inspect -m "$tmp/cut.gguf" --json
}

tensors >"$tmp/list"
read -r name offset bytes < <(grep attn_q "$tmp/list")
test_contents
test_doctor
test_doubled_head
test_files_of_others
summary
