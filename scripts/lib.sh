# Shared by the scripts beside it, so that each of them works on a machine that has nothing yet.
#
# Sourced, never run, after `cd` to the root of the repository. What is missing is installed where that is possible
# without asking (Debian or Ubuntu, root or sudo without a password); elsewhere the script stops and names it.
# shellcheck shell=bash

# The test steps of scripts/test and of scripts/test-busy.
# shellcheck disable=SC2034  # they use them
TEST_WITHOUT_LUA=(scripts/redis-in-docker cargo test -p realtime -p fault-kit --no-default-features)
# shellcheck disable=SC2034
TEST_WITH_LUA=(scripts/redis-in-docker cargo test -p realtime -p gmod-host)

# `say TEXT...`: one line on stderr under the script's name. Stdout belongs to whatever the script runs.
say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# `fail TEXT...`: says it and ends the script (or the subshell it is called in) with status 1.
fail() {
    say "$@"
    exit 1
}

# `have NAME`: true when NAME, a command or the absolute path of a file, is there.
have() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        *) command -v -- "$1" >/dev/null 2>&1 ;;
    esac
}

# `can_install`: true when packages can be installed without asking anybody.
can_install() {
    have apt-get && { [[ $EUID -eq 0 ]] || sudo -n true </dev/null >/dev/null 2>&1; }
}

# `as_root CMD...`: runs CMD as root, with no terminal to ask on and nothing on stdout. Only after `can_install`.
as_root() {
    if [[ $EUID -eq 0 ]]; then
        "$@" </dev/null >&2
    else
        sudo -n -- "$@" </dev/null >&2
    fi
}

apt_lists_fresh=no

# `apt_update`: fetches the package lists, once per script. A failure is only told: the lists at hand may do.
apt_update() {
    [[ $apt_lists_fresh == no ]] || return 0
    apt_lists_fresh=yes
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q update >/dev/null ||
        say "apt-get update failed; going on with the package lists at hand"
}

# `apt_install PACKAGE...`: installs them and returns apt's verdict. A service that comes along stays off, now and
# after a restart of the machine: tests start their own, and nobody asked for a daemon.
apt_install() {
    apt_update
    say "installing $*"
    # The policy file is how Debian lets a machine refuse the start of services; one already there is left alone.
    # shellcheck disable=SC2016  # root's shell expands these, not this one
    as_root env DEBIAN_FRONTEND=noninteractive sh -eu -c '
        policy=/usr/sbin/policy-rc.d
        if [ ! -e "$policy" ]; then
            trap "rm -f $policy" EXIT
            trap "exit 1" HUP INT TERM
            printf "#!/bin/sh\nexit 101\n" >"$policy"
            chmod 755 "$policy"
        fi
        before=$(ls /lib/systemd/system 2>/dev/null || true)
        apt-get -o DPkg::Lock::Timeout=300 -q -y --no-install-recommends install "$@"
        [ -d /run/systemd/system ] || exit 0
        for unit in $(ls /lib/systemd/system); do
            case "$before" in *"$unit"*) continue ;; esac
            case "$unit" in *@*) ;; *.service) systemctl --quiet disable --now "$unit" || true ;; esac
        done
    ' install "$@"
}

# `apt_candidate PACKAGE`: prints the version apt would install, or nothing.
apt_candidate() {
    local line
    while read -r line; do
        case $line in
            'Candidate: (none)') ;;
            'Candidate: '*) printf '%s\n' "${line#Candidate: }" ;;
        esac
    done < <(LC_ALL=C apt-cache policy -- "$1" 2>/dev/null)
}

# `ensure NAME:PACKAGE...`: afterwards each NAME, a command or the absolute path of a file, is there; those that are
# not come from their Debian PACKAGE. When that cannot be, says exactly what to install and ends the script.
ensure() {
    local need missing=() packages=()
    for need; do
        have "${need%%:*}" || { missing+=("${need%%:*}") packages+=("${need#*:}"); }
    done
    [[ ${#missing[@]} -gt 0 ]] || return 0
    if can_install; then
        apt_install "${packages[@]}" || fail "cannot install ${packages[*]}: see apt's words above"
        hash -r
        for need in "${missing[@]}"; do
            have "$need" || fail "$need is still missing after installing ${packages[*]}"
        done
    elif have apt-get; then
        fail "missing ${missing[*]}; install with: sudo apt-get install ${packages[*]}"
    else
        fail "missing ${missing[*]}; install what Debian calls: ${packages[*]}"
    fi
}

# `ensure_c`: afterwards C builds and links here, with make, readelf and the certificates cargo downloads with.
ensure_c() {
    local needs=(gcc:gcc make:make readelf:binutils /usr/include/stdio.h:libc6-dev)
    # Elsewhere than on Debian the file has other names, so its absence proves nothing.
    ! have apt-get || needs+=(/etc/ssl/certs/ca-certificates.crt:ca-certificates)
    ensure "${needs[@]}"
}

# `at_least WANTED VERSION`: true when VERSION is WANTED or later; what follows a `-` or `+` in VERSION is ignored.
at_least() {
    local version=${2%%[-+~]*}
    [[ -n $version ]] && printf '%s\n%s\n' "$1" "$version" | LC_ALL=C sort -CV
}

# `rust_least`: prints the oldest Rust that builds this workspace, from the one place that says it.
rust_least() {
    local line
    while read -r line; do
        if [[ $line =~ ^rust-version\ *=\ *\"([0-9.]+)\" ]]; then
            printf '%s\n' "${BASH_REMATCH[1]}"
            return
        fi
    done <Cargo.toml
    fail "Cargo.toml has no rust-version"
}

# `rust_good_in PATH LEAST`: true when the cargo and rustc found in PATH both run and are LEAST or later.
rust_good_in() {
    local PATH=$1 cargo rustc _
    read -r _ cargo _ < <(cargo --version 2>/dev/null </dev/null) || return 1
    read -r _ rustc _ < <(rustc --version 2>/dev/null </dev/null) || return 1
    at_least "$2" "$cargo" && at_least "$2" "$rustc"
}

# `rust_find LEAST`: true when a good enough toolchain is installed; PATH then leads to it. The one in PATH wins, then
# rustup's, then the distribution's, versioned ones (Ubuntu's rustc-1.xx) from the newest down.
rust_find() {
    local dir paths=("$PATH")
    for dir in ${HOME:+"$HOME/.cargo/bin"} /usr/bin; do
        paths+=("$dir:$PATH")
    done
    while read -r dir; do
        paths+=("$dir:$PATH")
    done < <(printf '%s\n' /usr/lib/rust-*/bin | sort -rV)
    for dir in "${paths[@]}"; do
        if rust_good_in "$dir" "$1"; then
            export PATH=$dir
            hash -r
            return 0
        fi
    done
    return 1
}

# `rust_from_rustup`: true when rustup is here and its stable toolchain could be had. A default the user chose stays:
# only this script and what it runs use stable.
rust_from_rustup() {
    [[ -z ${HOME:-} ]] || have rustup || PATH=$HOME/.cargo/bin:$PATH
    have rustup || return 1
    say "asking rustup for the stable toolchain"
    rustup default >/dev/null 2>&1 </dev/null || rustup default stable </dev/null >&2 || return 1
    rustup toolchain install stable --profile minimal --component rustfmt --component clippy </dev/null >&2 || return 1
    export RUSTUP_TOOLCHAIN=stable PATH
}

# `rust_from_apt LEAST`: true when a set of the distribution's packages gave a toolchain that is LEAST or later.
rust_from_apt() {
    local set package name
    apt_update
    # Debian's plain packages; the ones kept current for building browsers (bookworm); Ubuntu's, newest first.
    local sets=('rustc cargo rustfmt rust-clippy' 'rustc-web cargo-web rustfmt-web rust-web-clippy')
    while read -r name; do
        sets+=("rustc-$name cargo-$name rustfmt-$name rust-$name-clippy")
    done < <(apt-cache pkgnames rustc-1. | sed -n 's/^rustc-\(1\.[0-9]*\)$/\1/p' | sort -rV)
    for set in "${sets[@]}"; do
        at_least "$1" "$(apt_candidate "${set%% *}")" || continue
        local wanted=()
        for package in $set; do
            [[ -z $(apt_candidate "$package") ]] || wanted+=("$package")
        done
        apt_install "${wanted[@]}" && rust_find "$1" && return 0
    done
    return 1
}

# `ensure_rust`: afterwards `cargo` and `rustc` in PATH are at least the `rust-version` of Cargo.toml.
ensure_rust() {
    local least
    least=$(rust_least)
    rust_find "$least" && return 0
    say "no Rust $least or later here"
    rust_from_rustup && rust_find "$least" && return 0
    if can_install; then
        apt_update
        if ! have rustup && [[ -n $(apt_candidate rustup) ]]; then
            apt_install rustup && hash -r && rust_from_rustup && rust_find "$least" && return 0
        fi
        rust_from_apt "$least" && return 0
    fi
    fail "missing cargo and rustc $least or later; install rustup and run: rustup default stable"
}

# `ensure_rust_lints`: as `ensure_rust`, and `cargo fmt` and `cargo clippy` work too.
ensure_rust_lints() {
    ensure_rust
    rust_lints_work && return 0
    if have rustup && rustup component add rustfmt clippy </dev/null >&2 && rust_lints_work; then
        return 0
    fi
    if can_install; then
        local release
        release=$(rustc --version)
        release=${release#rustc }
        release=${release%.*}
        apt_update
        # Whichever of these belongs to the toolchain in PATH; the others are not there, or change nothing.
        local set
        for set in "rustfmt-$release rust-$release-clippy" 'rustfmt-web rust-web-clippy' 'rustfmt rust-clippy'; do
            [[ $(apt_candidate "${set%% *}") == *"$release"* || $set == *"$release"* ]] || continue
            # shellcheck disable=SC2086  # two package names
            apt_install $set && hash -r && rust_lints_work && return 0
        done
    fi
    fail "missing cargo fmt or cargo clippy for $(rustc --version); with rustup: rustup component add rustfmt clippy"
}

rust_lints_work() {
    cargo fmt --version >/dev/null 2>&1 </dev/null && cargo clippy --version >/dev/null 2>&1 </dev/null
}
