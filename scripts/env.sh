# shellcheck shell=bash
# Shared by the scripts here: where things are, what a machine must have, and the build.
# Sourced, not run. Sets `root`, `cache`, `profile` and `bin`.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
: "${HOME:?HOME is not set: set it to a folder of yours}"
cache=${XDG_CACHE_HOME:-$HOME/.cache}/cs

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
die() { say "$@"; exit 2; }

# CS_PROFILE=quick: ready sooner, and slower at work.
profile=${CS_PROFILE:-release}
case $profile in
release | quick) ;;
*) die "CS_PROFILE is '$profile': it takes release (the default) or quick" ;;
esac
bin=${CARGO_TARGET_DIR:-$root/target}/$profile

# Installs a Debian package, or says what to do about it.
need_package() { # PACKAGE
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        command -v sudo >/dev/null 2>&1 || die "install the Debian package $1, and run this again"
        as_root=(sudo)
    fi
    command -v apt-get >/dev/null 2>&1 || die "install what Debian has in the package $1, and run this again"
    say "installing the Debian package $1"
    # A new machine may have no list of packages yet.
    "${as_root[@]}" apt-get install -qq -y "$1" >/dev/null 2>&1 ||
        { "${as_root[@]}" apt-get update -qq >&2 && "${as_root[@]}" apt-get install -qq -y "$1" >&2; } ||
        die "could not install the Debian package $1"
}

# Installs the Debian package that provides a command, if the command is missing.
need() { # COMMAND PACKAGE
    type -P "$1" >/dev/null || need_package "$2"
}

# What compiling needs: lance generates code from protobuf files, the grammars are C, and jemalloc
# has a makefile.
need_compilers() {
    command -v cargo >/dev/null 2>&1 || die "cargo is missing: install Rust 1.95 or later with rustup"
    need cc gcc
    need make make
    need protoc protobuf-compiler
}

# Says what a first build does, before it does it.
announce_build() {
    say "compiling the tools once: up to 40 minutes on two cores, less on more; 5 GB below $(dirname "$bin")"
    [ "$profile" = quick ] || say "in a hurry? CS_PROFILE=quick compiles sooner, and makes slower tools"
    say "it can be interrupted: run it again, and it goes on from there"
}

# Builds the tools, with the features that CS_FEATURES names and cargo's arguments in addition. Shows
# how far it is: by cargo's own bar on a terminal, by a line a minute elsewhere.
build() { # ARGUMENTS...
    # The whole workspace: another set of packages would have dependencies with other features.
    local flags=(--locked --workspace --profile "$profile" --manifest-path "$root/Cargo.toml"
        ${CS_FEATURES:+--features "$CS_FEATURES"} "$@")
    trap 'say "interrupted: run it again, and it goes on from here"; exit 130' INT
    if [ -t 2 ]; then
        cargo build "${flags[@]}" || die "the build failed"
    else
        local shown showing status=0
        exec {shown}> >(show_build)
        showing=$!
        cargo build "${flags[@]}" 2>&"$shown" || status=$?
        exec {shown}>&-
        # It may still have an error of the compiler's to print.
        wait "$showing" || true
        [ "$status" = 0 ] || die "the build failed"
    fi
    trap - INT
}

# Prints `name-version size` for each crate of the build: the bytes of its sources in Rust, and a
# fiftieth of those in C, which are the tables of grammars.
crate_sizes() {
    local home=${CARGO_HOME:-$HOME/.cargo}
    join -a 1 -e 0 -o 0,2.2 \
        <(cargo tree --quiet --locked --workspace ${CS_FEATURES:+--features "$CS_FEATURES"} \
            --edges normal,build --prefix none --format '{p}' \
            --manifest-path "$root/Cargo.toml" | awk '{ print $1 "-" substr($2, 2) }' | sort -u) \
        <(find "$home"/registry/src/*/ -type f \( -name '*.rs' -o -name '*.c' \) -printf '%s %P\n' |
            awk '{ split($2, part, "/") }
                 /\.c$/ { bytes[part[1]] += int($1 / 50) }
                 part[2] == "src" && /\.rs$/ { bytes[part[1]] += $1 }
                 END { for (crate in bytes) print crate, bytes[crate] }' | sort)
}

# Reads what cargo says, and says instead, once a minute, how many crates are done. The time that is
# left goes by the bytes of their sources: the crates that take longest come last. They are counted
# after the first minute, so that a build with nothing to do costs nothing here.
show_build() {
    local -A bytes=()
    local begun=() total=0 next=60 line name version size sum left
    SECONDS=0
    while true; do
        line=
        if IFS= read -r -t $((next > SECONDS ? next - SECONDS : 1)) line; then
            case $line in
            *Compiling\ *)
                read -r _ name version _ <<<"$line"
                begun+=("$name-${version#v}")
                ;;
            *Finished\ * | *Blocking\ * | *Running\ *) ;;
            *) printf '%s\n' "$line" >&2 ;;
            esac
        elif [ $? -le 128 ]; then
            return
        fi
        [ "$SECONDS" -ge "$next" ] || continue
        next=$((next + 60))
        # Before the first crate cargo downloads, so that there is nothing to count yet.
        if [ "${#begun[@]}" = 0 ]; then
            say "downloading the sources of the dependencies"
            continue
        fi
        if [ "${#bytes[@]}" = 0 ]; then
            while read -r name size; do
                bytes[$name]=$size
                total=$((total + size))
            done < <(crate_sizes)
        fi
        sum=0 left=
        for name in "${begun[@]}"; do
            sum=$((sum + ${bytes[$name]:-0}))
        done
        [ "$sum" = 0 ] || left=", about $(((total - sum) * SECONDS / sum / 60 + 1)) min left"
        say "building: ${#begun[@]} of ${#bytes[@]} crates after $((SECONDS / 60)) min$left"
    done
}
