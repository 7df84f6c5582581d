# Functions that the scripts beside it share, so that each script works on a fresh machine.
#
# Scripts source this file after `cd` to the root of the repository. Missing tools are installed where that is possible
# without asking (Debian or Ubuntu, as root or with sudo without a password); elsewhere the script stops and names them.
# shellcheck shell=bash

# The test steps of scripts/test and of scripts/test-busy.
# shellcheck disable=SC2034  # the scripts use them
TEST_WITHOUT_LUA=(scripts/redis-in-docker scripts/test-programs -p realtime -p fault-kit -p bench-report --no-default-features)
# shellcheck disable=SC2034
TEST_WITH_LUA=(scripts/redis-in-docker scripts/test-programs -p realtime -p gmod-host)

# Each run draws the same cases, so that a commit passes or fails for what is in it. `scripts/test properties` draws new ones.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
export PROPTEST_DISABLE_FAILURE_PERSISTENCE=1

# `say TEXT...`: prints one line on stderr, with the script's name. Stdout belongs to the commands that the script runs.
say() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
}

# `fail TEXT...`: prints the text and ends the script (or the calling subshell) with status 1.
fail() {
    say "$@"
    exit 1
}

# `have NAME`: true if NAME, a command or the absolute path of a file, exists.
have() {
    case $1 in
        /*) [[ -e $1 ]] ;;
        *) command -v -- "$1" >/dev/null 2>&1 ;;
    esac
}

# `can_install`: true if packages can be installed without a password.
can_install() {
    have apt-get && { [[ $EUID -eq 0 ]] || sudo -n true </dev/null >/dev/null 2>&1; }
}

# `as_root CMD...`: runs CMD as root, without a terminal for questions and with stdout sent to stderr, or both to the file
# PACKAGE_LOG if that is set. Only after `can_install`.
as_root() {
    local sudo=()
    [[ $EUID -eq 0 ]] || sudo=(sudo -n --)
    if [[ -n ${PACKAGE_LOG:-} ]]; then
        ${sudo[@]+"${sudo[@]}"} "$@" </dev/null >>"$PACKAGE_LOG" 2>&1 || { local status=$?; tail -n 20 "$PACKAGE_LOG" >&2; return "$status"; }
    else
        ${sudo[@]+"${sudo[@]}"} "$@" </dev/null >&2
    fi
}

apt_lists_fresh=no

# `apt_update`: fetches the package lists, once in each script. After a failure the script goes on: the old lists may do.
apt_update() {
    [[ $apt_lists_fresh == no ]] || return 0
    apt_lists_fresh=yes
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -q update >/dev/null ||
        say "apt-get update failed; going on with the package lists at hand"
}

# `apt_install PACKAGE...`: installs the packages and returns apt's status. Services in them stay off, now and after a
# restart of the machine, because tests start their own servers.
apt_install() {
    apt_update
    say "installing $*"
    # With this policy file a Debian machine refuses to start services; an existing one is not changed.
    # shellcheck disable=SC2016  # the shell of root expands these
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

# `apt_candidate PACKAGE`: prints the version that apt would install, or nothing.
apt_candidate() {
    local line
    while read -r line; do
        case $line in
            'Candidate: (none)') ;;
            'Candidate: '*) printf '%s\n' "${line#Candidate: }" ;;
        esac
    done < <(LC_ALL=C apt-cache policy -- "$1" 2>/dev/null)
}

# `ensure NAME:PACKAGE...`: makes sure that each NAME, a command or the absolute path of a file, exists, and installs the
# Debian PACKAGE of a missing one. If that is impossible, prints exactly what to install and ends the script.
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

# `ensure_from_pypi FOLDER PACKAGE...`: makes sure that the virtual environment in FOLDER has these packages of PyPI.
ensure_from_pypi() {
    local folder=$1
    shift
    ensure python3:python3
    if [[ ! -x $folder/bin/pip ]]; then
        # Debian's python3 lacks the files that are needed to create a virtual environment.
        python3 -c 'import ensurepip, venv' 2>/dev/null || { can_install && apt_install python3-venv; } ||
            fail "missing python3-venv; install it with: sudo apt-get install python3-venv"
        python3 -m venv "$folder"
    fi
    "$folder/bin/pip" --quiet --disable-pip-version-check install "$@"
}

# `c_needs`: prints the needs for compiling and linking C, with make, readelf and the certificates for cargo's downloads, as
# arguments of `ensure`.
c_needs() {
    printf '%s\n' gcc:gcc make:make readelf:binutils /usr/include/stdio.h:libc6-dev
    # Other distributions name this file differently, so its absence proves nothing there.
    ! have apt-get || printf '%s\n' /etc/ssl/certs/ca-certificates.crt:ca-certificates
}

# `ensure_all NEED...`: makes sure that a script has all that it needs, so that a machine on which nothing can be installed
# is told all of it in one line. NEED is `c` (see `c_needs`), `rust`, `rust-lints`, or NAME:PACKAGE as for `ensure`.
ensure_all() {
    local need line needs=() rust=
    for need; do
        case $need in
            c) while read -r line; do needs+=("$line"); done < <(c_needs) ;;
            rust | rust-lints) rust=$need ;;
            *) needs+=("$need") ;;
        esac
    done
    can_install || name_all_missing "$rust" ${needs[@]+"${needs[@]}"}
    ensure ${needs[@]+"${needs[@]}"}
    case $rust in
        rust) ensure_rust ;;
        rust-lints) ensure_rust_lints ;;
    esac
}

# `name_all_missing RUST NEED...`: if something is missing that only root can install, ends the script with one line that
# installs all of it. A Rust that rustup can install is not missing: rustup needs no root.
name_all_missing() {
    local rust=$1 need missing=() packages=() line='' after=''
    shift
    for need; do
        have "${need%%:*}" || { missing+=("${need%%:*}") packages+=("${need#*:}"); }
    done
    if [[ -n $rust ]] && ! rust_find "$(rust_least)" && ! have rustup && ! have "${HOME:-}/.cargo/bin/rustup"; then
        missing+=("cargo and rustc $(rust_least) or later")
        if ! have apt-get || [[ -n $(apt_candidate rustup) ]]; then
            packages+=(rustup)
            after='rustup default stable'
        elif line=$(rust_sets "$(rust_least)" | head -n 1) && [[ -n $line ]]; then
            # shellcheck disable=SC2206  # names of packages
            packages+=($line)
        else
            # No package of this distribution is new enough, or its lists of packages were never fetched.
            have curl || packages+=(curl)
            after='curl -sSf https://sh.rustup.rs | sh -s -- -y'
        fi
    fi
    ((${#missing[@]} > 0)) || return 0
    have apt-get || fail "missing ${missing[*]}; install what Debian calls: ${packages[*]}${after:+, then: $after}"
    line=$after
    if ((${#packages[@]} > 0)); then
        line="sudo apt-get install ${packages[*]}${after:+ && $after}"
        [[ -n $(apt_candidate "${packages[0]}") ]] || line="sudo apt-get update && $line"
    fi
    fail "missing ${missing[*]}; install with: $line"
}

# `at_least WANTED VERSION`: true if VERSION is WANTED or later. The part of VERSION after a `-` or `+` is ignored.
at_least() {
    local version=${2%%[-+~]*}
    [[ -n $version ]] && printf '%s\n%s\n' "$1" "$version" | LC_ALL=C sort -CV
}

# `rust_least`: prints the oldest Rust that builds this workspace, as Cargo.toml says.
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

# `project_version`: prints the version of this project, as Cargo.toml says.
project_version() {
    sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1
}

# `rust_good_in PATH LEAST`: true if the cargo and rustc in PATH both run and are LEAST or later.
rust_good_in() {
    local PATH=$1 cargo rustc _
    read -r _ cargo _ < <(cargo --version 2>/dev/null </dev/null) || return 1
    read -r _ rustc _ < <(rustc --version 2>/dev/null </dev/null) || return 1
    at_least "$2" "$cargo" && at_least "$2" "$rustc"
}

# `rust_find LEAST`: true if a new enough toolchain is installed; PATH then leads to it. The order is: the one in PATH,
# rustup's, the distribution's, then versioned ones (Ubuntu's rustc-1.xx), newest first.
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

# `rust_from_rustup`: true if rustup exists; it was asked for its stable toolchain then. Only the toolchain that it has
# afterwards counts, not its exit status: a distribution's rustup cannot update itself and may say so as a failure. The
# user's default toolchain does not change: only this script and its commands use stable.
rust_from_rustup() {
    [[ -z ${HOME:-} ]] || have rustup || PATH=$HOME/.cargo/bin:$PATH
    have rustup || return 1
    say "asking rustup for the stable toolchain"
    rustup toolchain install stable --no-self-update --profile minimal --component rustfmt --component clippy \
        </dev/null >&2 || say "rustup reported a failure; looking for its toolchain all the same"
    rustup default >/dev/null 2>&1 </dev/null || rustup default stable </dev/null >&2 || true
    export RUSTUP_TOOLCHAIN=stable PATH
}

# `rust_sets LEAST`: prints the packages of the distribution that give a toolchain which is LEAST or later, one set a line.
rust_sets() {
    local set package name
    # Debian's plain packages; the newer ones for building browsers (bookworm); Ubuntu's, newest first.
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
        printf '%s\n' "${wanted[*]}"
    done
}

# `rust_from_apt LEAST`: true if packages of the distribution gave a toolchain that is LEAST or later.
rust_from_apt() {
    local set sets
    apt_update
    mapfile -t sets < <(rust_sets "$1")
    for set in ${sets[@]+"${sets[@]}"}; do
        # shellcheck disable=SC2086  # names of packages
        apt_install $set && rust_find "$1" && return 0
    done
    return 1
}

# `ensure_rust`: makes sure that `cargo` and `rustc` in PATH are at least the `rust-version` of Cargo.toml.
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
    fail "missing cargo and rustc $least or later; install rustup (https://rustup.rs) and run: rustup default stable"
}

# `ensure_std_source`: true if the source of the standard library of the `rustc` in PATH is installed, or could be.
ensure_std_source() {
    std_source_is_here && return 0
    if have rustup && rustup component add rust-src </dev/null >&2 && std_source_is_here; then
        return 0
    fi
    if can_install; then
        local release
        release=$(rust_release)
        apt_update
        # One of these belongs to the toolchain in PATH; the others do not exist or are for another version.
        local package
        for package in "rust-$release-src" rust-web-src rust-src; do
            [[ $(apt_candidate "$package") == *"$release"* ]] || continue
            apt_install "$package" && std_source_is_here && return 0
        done
    fi
    return 1
}

# `rust_release`: prints the release of the `rustc` in PATH, as 1.95: Debian's packages are named or numbered by it.
rust_release() {
    local release
    release=$(rustc --version)
    release=${release#rustc }
    printf '%s\n' "${release%.*}"
}

std_source_is_here() {
    [[ -e $(rustc --print sysroot </dev/null)/lib/rustlib/src/rust/library/Cargo.lock ]]
}

# `ensure_rust_lints`: as `ensure_rust`, and makes sure that `cargo fmt` and `cargo clippy` work.
ensure_rust_lints() {
    ensure_rust
    rust_lints_work && return 0
    if have rustup && rustup component add rustfmt clippy </dev/null >&2 && rust_lints_work; then
        return 0
    fi
    if can_install; then
        local release
        release=$(rust_release)
        apt_update
        # One of these sets belongs to the toolchain in PATH; the others do not exist or change nothing.
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
