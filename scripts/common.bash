# What scripts/run and scripts/test share. Sourced, with the package's folder as working directory.
# shellcheck shell=bash

say() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }
fail() { say "$*"; exit 1; }

# Runs a command as root: as we are, or by sudo. sudo may ask only where there is a terminal.
as_root() {
    if [[ $(id -u) == 0 ]]; then
        "$@"
    elif ! command -v sudo >/dev/null; then
        fail "this needs root, and there is no sudo. As root, run: $*"
    elif [[ -t 0 ]]; then
        sudo "$@"
    else
        sudo -n "$@" || fail "this needs root, and sudo would ask for a password. Run: sudo $*"
    fi
}

has_apt() { command -v apt-get >/dev/null && command -v dpkg-query >/dev/null; }

# Debian and Ubuntu: installs those of the named packages that are missing.
apt_install() {
    local missing=() package
    for package in "$@"; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done
    ((${#missing[@]})) || return 0
    say "installing ${missing[*]}"
    # Without the update a machine that never had one knows no packages.
    as_root apt-get -qq update >&2
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install -y --no-install-recommends "${missing[@]}" >&2 </dev/null
}

need_rust() {
    if ! command -v cargo >/dev/null && [[ -r ${CARGO_HOME:-$HOME/.cargo}/env ]]; then
        # shellcheck source=/dev/null
        . "${CARGO_HOME:-$HOME/.cargo}/env"
    fi
    command -v cargo >/dev/null || fail "Rust is needed. Install it with
    curl --proto '=https' --tlsv1.2 -sSf https://sh.rustup.rs | sh
(https://rustup.rs), open a new shell and run this again."
}

has_build_tools() {
    command -v cc >/dev/null &&
        printf '#include <pcap.h>\nint main(void) { return !pcap_lib_version(); }\n' |
        cc -x c -o /dev/null - -lpcap 2>/dev/null
}

# A C compiler for linking, and libpcap with its headers.
need_build_tools() {
    has_build_tools && return
    if has_apt; then
        apt_install gcc libc6-dev libpcap-dev
    elif command -v dnf >/dev/null; then
        fail "a C compiler and libpcap's headers are needed: sudo dnf install gcc libpcap-devel"
    elif command -v pacman >/dev/null; then
        fail "a C compiler and libpcap are needed: sudo pacman -S --needed base-devel libpcap"
    elif [[ $(uname) == Darwin ]]; then
        fail "the command line tools (xcode-select --install) are needed; they bring libpcap." \
            "A newer one: brew install libpcap"
    else
        fail "a C compiler and libpcap with its headers (often called libpcap-devel) are needed"
    fi
    has_build_tools || fail "libpcap still cannot be compiled against; the compiler says:
$(echo '#include <pcap.h>' | cc -x c -fsyntax-only - 2>&1)"
}

target_directory() { printf '%s\n' "${CARGO_TARGET_DIR:-target}"; }

# Lets programs capture without being root. A rebuilt file has lost the capability.
grant_capture() {
    [[ $(id -u) != 0 ]] || return 0
    if [[ $(uname) != Linux ]]; then
        say "capturing needs read access to /dev/bpf*: run it with sudo, or install Wireshark's ChmodBPF"
        return 0
    fi
    local setcap program ungranted=()
    # sbin is not on every user's PATH.
    setcap=$(PATH=$PATH:/usr/sbin:/sbin command -v setcap) || {
        has_apt || fail "setcap is needed (package libcap)"
        apt_install libcap2-bin
        setcap=$(PATH=$PATH:/usr/sbin:/sbin command -v setcap)
    }
    for program in "$@"; do
        "$setcap" -q -v cap_net_raw+ep "$program" >/dev/null 2>&1 || ungranted+=("$program")
    done
    ((${#ungranted[@]})) || return 0
    say "granting the right to capture (cap_net_raw) to ${#ungranted[@]} program(s)"
    as_root "$setcap" cap_net_raw+ep "${ungranted[@]}"
}
