#!/usr/bin/env bash
# test_inspect.sh - inspect_cuda on a build made up here, which needs no toolkit: what is right
# passes, each thing that may be wrong is named.
#
#   tests/test_inspect.sh
set -eu
inspect=$(cd "$(dirname "$0")/../scripts" && pwd -P)/inspect_cuda
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
mkdir -p "$tree/build/nvcc/demo" "$tree/cuda" "$tree/build/nvcc/removed"
touch "$tree/cuda/demo.cu" "$tree/build/nvcc/removed/ptxas.log" # one source is no more
failures=0
cases=0

fail() {
    printf '%s\n' "$*"
    failures=$((failures + 1))
}

# run OPTION...: output and status of the inspection.
run() {
    status=0
    output=$("$inspect" --tables "$tree/cuda" "$@" "$tree/build" 2>&1) || status=$?
}

# says STATUS TEXT OPTION...
says() {
    local want=$1 text=$2
    shift 2
    cases=$((cases + 1))
    run "$@"
    [ "$status" = "$want" ] || fail "$text: exit status $status instead of $want:" "$output"
    printf '%s\n' "$output" | grep -qF -- "$text" || fail "should have said: $text" "$output"
}

# log REGISTERS STACK SPILLED SMEM: what ptxas says.
log() {
    cat >"$tree/build/nvcc/demo/ptxas.log" <<END
ptxas info    : Compiling entry function '_ZN9tern_cuda4demoILi4ELb1EEEvNS_4argsE' for 'sm_90a'
ptxas info    : Function properties for _ZN9tern_cuda4demoILi4ELb1EEEvNS_4argsE
    $2 bytes stack frame, $3 bytes spill stores, 0 bytes spill loads
ptxas info    : Used $1 registers, used 1 barriers$4
END
}

# ptx INSTRUCTION...
ptx() {
    {
        printf '// Cuda compilation tools, release 13.0, V13.0.88\n.version 9.0\n.target sm_90a\n'
        printf '.visible .entry _ZN9tern_cuda4demoILi4ELb1EEEvNS_4argsE(\n\t.param p\n)\n{\n'
        printf '\t%s %%r1, %%r2;\n' "$@"
        printf '}\n'
    } >"$tree/build/nvcc/demo/demo.compute_90a.ptx"
}

# sass INSTRUCTION...: a disassembler that prints these.
sass() {
    {
        printf '#!/bin/sh\ncat <<"END"\n.text._ZN9tern_cuda4demoILi4ELb1EEEvNS_4argsE:\n'
        printf '        /*0000*/                   %s R1, R2 ;\n' "$@"
        printf 'END\n'
    } >"$tree/nvdisasm"
    chmod +x "$tree/nvdisasm"
}

rules() { printf '%s\n' "$@" >"$tree/cuda/instructions.txt"; }

log 40 0 0 ''
ptx 'ld.global.nc.v4.u32' '@%p1 dp4a.u32.s32'
rules '* * ptx !ld.local' 'demo:demo<4,* 80+ ptx dp4a.u32.s32 ld.global' '* * sass IMMA.*.S8 !LDL'
says 1 'demo:demo<4,true>, sm_90a: 40 registers, the table has nothing'
says 0 '0 errors' --update
says 0 '0 errors'
grep -q '^demo:demo<4,true> .* 40 ' "$tree/cuda/resources.txt" || fail "no line in the table"

log 41 0 0 ''
says 1 'demo:demo<4,true>, sm_90a: 41 registers, the table has 40'
log 40 16 0 ''
says 1 'a stack frame of 16 bytes'
log 40 0 8 ''
says 1 '8 + 0 bytes spilled'
log 40 0 0 ', 1024 bytes smem'
says 1 '1024 bytes of static shared memory'
log 40 0 0 $'\nptxas info : (C7510) Potential Performance Loss: wgmma.mma_async is serialized'
says 1 'Potential Performance Loss'
log 40 0 0 ''

ptx ld.local.u32 dp4a.u32.s32 ld.global.u32
says 1 'has ld.local.u32 ('
ptx dp4a.u32.u32 ld.global.u32
says 1 'has no dp4a.u32.s32'
ptx dp4a.u32.s32 ld.global_not.u32
says 1 'has no ld.global'
ptx dp4a.u32.s32 ld.global.u32
rules 'absent:* * ptx dp4a'
says 1 'no kernel of the build is meant'
rules 'absent:* 75 ptx dp4a' '* * ptx dp4a' # no sm_75 in this build
says 0 '0 errors'
rules '* * ptx'
says 2 'is no rule'
sed -i 's/^# nvcc .*/# nvcc 12.9/' "$tree/cuda/resources.txt"
rules '* * ptx dp4a'
log 50 0 0 ''
says 0 'registers: SKIP: the table was made by nvcc 12.9, this is 13.0'
printf '# nvcc 13.0\n# kernel 90a\ngone:gone 10\ndemo:demo<4,true> 50\n' >"$tree/cuda/resources.txt"
says 1 'gone:gone: stands in the table, but not in the build'

rules '* * sass IMMA.*.S8 !LDL'
touch "$tree/build/nvcc/demo/demo.compute_90a.cubin"
sass IMMA.16832.U8.S8 LDG.E
says 0 '0 errors' --sass --disassembler "$tree/nvdisasm"
sass LDG.E
says 1 'has no IMMA.*.S8' --sass --disassembler "$tree/nvdisasm"
sass IMMA.16832.U8.S8 '@P0 LDL.64'
says 1 'has LDL.64' --sass --disassembler "$tree/nvdisasm"
says 1 'cannot disassemble' --sass --disassembler "$tree/absent"
(
    cd "$tree/build/nvcc/demo"
    mv demo.compute_90a.cubin demo.cubin
    mv demo.compute_90a.ptx demo.ptx
)
sass IMMA.16832.U8.S8 LDG.E
says 0 'sm_90a' --sass --disassembler "$tree/nvdisasm" # one architecture: by the PTX's target
rm "$tree"/build/nvcc/demo/*.ptx
says 2 'names no architecture' --sass --disassembler "$tree/nvdisasm"
rm -r "$tree/build/nvcc/demo"
says 2 'build it with TERN_CUDA on'

echo "test_inspect.sh: $cases cases, $failures failures"
[ "$failures" = 0 ]
