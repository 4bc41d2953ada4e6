# Shared by the scripts here: where things are kept, and what a machine must have.
# Sourced, not run. Sets `root`, `cache` and, for CI, CARGO_TARGET_DIR.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cs

# A clean clone finds the compiled dependencies of the run before it.
if [ -n "${CI:-}" ]; then
    export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}
fi
bin=${CARGO_TARGET_DIR:-$root/target}/release

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$@"; exit 2; }

# Installs a Debian package that provides a command, or says what to do about it.
need() { # COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 && return
    local as_root=
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "$1 is missing: install the package $2"
        as_root=sudo
    fi
    command -v apt-get >/dev/null 2>&1 || die "$1 is missing: install it with your package manager"
    say "installing $2"
    $as_root apt-get install -qq -y "$2" >&2 ||
        { $as_root apt-get update -qq >&2 && $as_root apt-get install -qq -y "$2" >&2; } ||
        die "could not install $2, which provides $1"
}

# What compiling needs: lance generates code from protobuf files, the grammars are C, and jemalloc
# has a makefile.
need_compilers() {
    command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust 1.95 or later with rustup"
    need cc gcc
    need make make
    need protoc protobuf-compiler
}
