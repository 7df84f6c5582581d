# The platforms of the game's servers, and how the library is built for each. Scripts source this file after lib.sh.
#
# | platform | file that the game loads | the server that loads it |
# |---|---|---|
# | linux64 | gmsv_realtime_linux64.dll | srcds_linux64, since 2026-09 the default branch |
# | linux32 | gmsv_realtime_linux.dll | srcds_linux |
# | win64 | gmsv_realtime_win64.dll | srcds_win64.exe |
# | win32 | gmsv_realtime_win32.dll | srcds.exe |
# shellcheck shell=bash

# shellcheck disable=SC2034  # the scripts use it
PLATFORMS=(linux64 linux32 win64 win32)

# `platform_set NAME`: describes the platform in these variables:
#   target           Rust's name of it
#   game_suffix      the game's name of it, as in gmsv_realtime_SUFFIX.dll
#   os               linux or windows
#   built_library    the name of the library as cargo builds it; built_tool: the name of the tool
#   strip            the program that removes symbols
# shellcheck disable=SC2034  # the scripts use them
platform_set() {
    platform=$1
    game_suffix=$1
    strip='strip'
    case $platform in
        linux64) target=x86_64-unknown-linux-gnu ;;
        linux32) target=i686-unknown-linux-gnu game_suffix=linux ;;
        win64) target=x86_64-pc-windows-gnu strip=x86_64-w64-mingw32-strip ;;
        win32) target=i686-pc-windows-gnu strip=i686-w64-mingw32-strip ;;
        *) fail "there is no platform $platform; use one of: ${PLATFORMS[*]}" ;;
    esac
    if [[ $platform == linux* ]]; then
        os=linux built_library=libgmsv_realtime.so built_tool=realtime-cli
    else
        os=windows built_library=gmsv_realtime.dll built_tool=realtime-cli.exe
    fi
}

# `ensure_platform_c`: makes sure that C can be compiled and linked for the platform of `platform_set`. Windows: the
# mingw-w64 compiler whose threads are those of Windows, so that no DLL of its own is needed.
ensure_platform_c() {
    case $platform in
        linux32) ensure /usr/lib32/libgcc_s.so.1:lib32gcc-s1 ;;
        win64) ensure x86_64-w64-mingw32-gcc:gcc-mingw-w64-x86-64-win32 ;;
        win32) ensure i686-w64-mingw32-gcc:gcc-mingw-w64-i686-win32 ;;
    esac
}

# `ensure_host_c`: as `ensure_platform_c`, for the stand-in server. LuaJIT's build runs programs with the pointers of its
# target, so the 32-bit platforms need a 32-bit compiler for this machine too.
ensure_host_c() {
    ensure_platform_c
    [[ $platform == *32 ]] && ! links_32_bit || return 0
    ! can_install || apt_install gcc-multilib || true
    links_32_bit || fail "gcc cannot make 32-bit programs; install with: sudo apt-get install gcc-multilib"
}

# `links_32_bit`: true if the C compiler can make 32-bit programs.
links_32_bit() {
    gcc -m32 -x c -o /dev/null - <<<'int main(void) { return 0; }' >/dev/null 2>&1
}

# `newest_glibc FILE`: prints the newest version of glibc's symbols that a library for Linux needs, as GLIBC_2.17.
newest_glibc() {
    readelf -WV "$1" | grep -o 'GLIBC_[0-9.]*' | sort -uV | tail -n 1
}

# `dll_names FILE`: prints the libraries that one for Windows needs, in lower case, one a line.
dll_names() {
    objdump -p "$1" | sed -n 's/.*DLL Name: //p' | tr '[:upper:]' '[:lower:]' | sort -u
}

# `rust_has_std`: true if the standard library for the platform of `platform_set` is installed, or rustup could install it.
rust_has_std() {
    local folder
    folder=$(rustc --print sysroot </dev/null)/lib/rustlib/$target/lib
    compgen -G "$folder/libstd-*" >/dev/null && return 0
    have rustup && rustup target add "$target" </dev/null >&2 && compgen -G "$folder/libstd-*" >/dev/null
}

# `windows_linker TARGET_FOLDER`: prints the path of a linker for the Windows platform of `platform_set`, which it makes in
# cargo's folder of results. For 32 bits it builds Rust's start-up objects from the source of the standard library, if that
# is here: rustc names them without a path if they are not installed, and installed ones may have other bytes.
#
# The linker sorts the libraries of Windows by the paths of the archives that import them. Some are mingw's, in /usr, and
# some are in cargo's folder: their paths are made relative to it, so that the result does not depend on its place.
windows_linker() {
    local source object folder=$1/linker-$platform
    source=$(rustc --print sysroot </dev/null)/lib/rustlib/src/rust/library/rtstartup
    mkdir -p "$folder"
    if [[ $platform == win32 && -d $source ]]; then
        for object in rsbegin rsend; do
            RUSTC_BOOTSTRAP=1 rustc --target "$target" --emit=obj -Copt-level=2 -o "$folder/$object.o" \
                "$source/$object.rs" || return 1
        done
    fi
    # rustc guesses the kind of linker by its name: `ld` and `link` would be other kinds.
    cat >"$folder/gcc" <<LINKER
#!/bin/sh
cd '$1' || exit
for argument do
    shift
    own=linker-$platform/\${argument##*/}
    case \$argument in
        rsbegin.o | rsend.o | */rsbegin.o | */rsend.o) [ ! -e "\$own" ] || argument=\$own ;;
        '$1'/*) argument=\${argument#'$1'/} ;;
    esac
    set -- "\$@" "\$argument"
done
exec ${target%%-*}-w64-mingw32-gcc "\$@"
LINKER
    chmod 755 "$folder/gcc"
    printf '%s\n' "$folder/gcc"
}
