# common.sh - sourced by the scripts beside it: goes to the top of the tree, and puts what
# `scripts/deps --local` unpacked behind the system's own commands and libraries.
#
#   .deps/root   amd64 (or host) packages, unpacked     .deps/lib    links to the libraries among
#   .deps/arm64  the sysroot of the arm64 stage                      them that the system lacks
#   .deps/sysroot  exists when .deps/root holds a whole C library and compilers must use it
set -eu
cd "$(dirname "${BASH_SOURCE[0]}")/.."
top=$(pwd -P)
deps=$top/.deps
export LC_ALL=C

say() { printf '%s\n' "$*"; }

die() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# Makes the unpacked packages usable in this process and its children; may be called again.
use_local() {
    [ -d "$deps/root/usr" ] && [ ! -e "$deps/root/.incomplete" ] || return 0
    case ":$PATH:" in *":$deps/root/usr/bin:"*) return 0 ;; esac
    export PATH="$PATH:$deps/root/usr/bin"
    export LD_LIBRARY_PATH="$deps/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
    local dir
    for dir in "$deps"/root/usr/lib/*/pkgconfig "$deps/root/usr/share/pkgconfig"; do
        [ ! -d "$dir" ] || export PKG_CONFIG_PATH="$dir${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
    done
}

# Prints where nvcc is: what CUDACXX, CUDA_HOME or CUDA_PATH name, on PATH, or the usual place.
find_nvcc() {
    local path
    for path in "${CUDACXX:-}" "${CUDA_HOME:+$CUDA_HOME/bin/nvcc}" \
        "${CUDA_PATH:+$CUDA_PATH/bin/nvcc}" nvcc /usr/local/cuda/bin/nvcc; do
        [ -z "$path" ] || ! command -v "$path" || return 0
    done
    return 1
}

# with_compiler CC CXX command...: runs the command with these compilers.
with_compiler() {
    local root=''
    [ ! -e "$deps/sysroot" ] || root=" --sysroot=$deps/root"
    CC="$1$root" CXX="$2$root" "${@:3}"
}

# build_in DIR CC CXX TARGET OPTION...: configures DIR and builds TARGET there.
build_in() {
    local dir=$1 cc=$2 cxx=$3 target=$4 log=$1/configure.log
    mkdir -p "$dir"
    [ -e "$dir/CMakeCache.txt" ] || set -- "$@" -G Ninja # a folder keeps the generator it has
    if command -v ccache >/dev/null; then
        export CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache
    fi
    if ! with_compiler "$cc" "$cxx" cmake -S . -B "$dir" "${@:5}" >"$log" 2>&1; then
        cat "$log" >&2
        die "cmake could not configure $dir (its output is above)"
    fi
    log=$dir/build.log
    if [ -t 1 ]; then
        cmake --build "$dir" --target "$target" -j "$(nproc)" || die "the build in $dir failed"
    elif ! cmake --build "$dir" --target "$target" -j "$(nproc)" >"$log" 2>&1; then
        grep -v '^\[[0-9]*/[0-9]*\] [A-Z]' "$log" >&2 || true
        die "the build in $dir failed (what went wrong is above)"
    fi
}

use_local
