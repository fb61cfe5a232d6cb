#!/usr/bin/env bash
# test_install.sh - `cmake --install` into an empty folder, which is then moved: the program runs,
# the manual page and completions are there, and a small program builds with what pkg-config says.
#
#   tests/test_install.sh CMAKE BUILD_FOLDER COMPILER
set -eu
cmake=$1 build=$2 compiler=$3
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
command -v pkg-config >/dev/null || exit 77

die() {
    printf '%s\n' "$*"
    exit 1
}

"$cmake" --install "$build" --prefix "$tmp/first" >"$tmp/log"
mv "$tmp/first" "$tmp/second"
for file in bin/tern share/man/man1/tern.1 share/bash-completion/completions/tern \
    share/zsh/site-functions/_tern share/fish/vendor_completions.d/tern.fish include/tern/chat.h; do
    [ -s "$tmp/second/$file" ] || die "no $file"
done
version=$("$tmp/second/bin/tern" --version)

cat >"$tmp/small.c" <<'END'
#include <stdio.h>
#include <tern/engine.h>
int main(void)
{
    tern_model *model;
    tern_plan plan;
    tern_engine *engine; /* so that all of the library is linked, the devices too */
    tern_error err;
    const tern_workload workload = {.n_ctx = 64, .n_seq = 1};
    if (tern_model_open(&model, NULL, &err)) return 1;
    if (tern_plan_layers(&plan, tern_model_config_of(model), "cpu", &workload, &err)) return 1;
    if (tern_engine_create(&engine, model, &plan, NULL, &err)) return 1;
    tern_engine_destroy(engine);
    printf("tern %s\n", tern_version());
    tern_model_close(model);
    return 0;
}
END
pc=$(dirname "$(find "$tmp/second" -name tern.pc)")
export PKG_CONFIG_PATH="$pc${PKG_CONFIG_PATH:+:$PKG_CONFIG_PATH}"
# shellcheck disable=SC2046
$compiler "$tmp/small.c" -o "$tmp/small" $(pkg-config --cflags --libs tern)
linked=$("$tmp/small")
[ "$linked" = "$version" ] || die "'$version' is installed, '$linked' linked"
[ "tern $(pkg-config --modversion tern)" = "$version" ] || die 'pkg-config names another version'
