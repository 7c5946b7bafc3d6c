# Rust and the Debian packages. Sourced by scripts/setup.
# shellcheck shell=bash

# What any Rust of ours is built with; TLS has some C in it.
rust_packages=(ca-certificates gcc libc6-dev)
# The C++ compiler, libclang and the clang command, which is asked where the headers are, make the opencv crate's
# bindings; imgproc alone is 20 times smaller than libopencv-dev.
opencv_packages=(g++ clang libclang-dev libopencv-imgproc-dev)
# Python converts the models, and builds the Python package.
python_packages=(python3 python3-venv)
gstreamer_packages=(
    pkg-config libgstreamer1.0-dev libgstreamer-plugins-base1.0-dev libgstrtspserver-1.0-dev
    gstreamer1.0-plugins-base # test pictures, scaling, file and stream plumbing
    gstreamer1.0-plugins-good # RTP, RTSP, AVI and MP4, JPEG, cameras
    gstreamer1.0-plugins-bad  # the H.264 parser
    gstreamer1.0-plugins-ugly # x264
    gstreamer1.0-libav        # decoders
)

# Debian's rustc is too old, so Rust is not among the packages.
check_rust() {
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(cargo --version 2>/dev/null | cut -d' ' -f2) ||
        die "cargo is not there" "install Rust $wanted or newer from https://rustup.rs and run this again"
    [[ $(printf '%s\n' "$wanted" "$have" | sort -V | head -n 1) == "$wanted" ]] ||
        die "Rust $have is too old, $wanted or newer is needed" "run: rustup update stable"
}

is_installed() { [[ $(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null) == installed ]]; }
has_command() { command -v "$1" >/dev/null; }

# What the tests need on top, asked for by command, because these often come from elsewhere: Node.js from
# NodeSource brings an npm of its own and Debian's npm conflicts with it.
test_packages() {
    has_command ffmpeg && has_command ffprobe || echo ffmpeg
    has_command chromium || echo chromium
    has_command node || echo nodejs
    has_command npm || echo npm
    # The brokers that the tests start for themselves, on ports of their own.
    has_command redis-server || echo redis-server
    [[ -d /usr/lib/rabbitmq/lib ]] || echo rabbitmq-server
}

# packages_for GOAL: a line for each.
packages_for() {
    printf '%s\n' "${rust_packages[@]}"
    case $1 in
        wordcount) return ;;
        edges) printf '%s\n' "${opencv_packages[@]}" ;;
        wheel | package) printf '%s\n' "${python_packages[@]}" ;;
        *) printf '%s\n' curl "${opencv_packages[@]}" "${python_packages[@]}" "${gstreamer_packages[@]}" ;;
    esac
    [[ $1 != test && $1 != bench ]] || test_packages
}

# install_packages GOAL
install_packages() {
    local package packages missing=()
    mapfile -t packages < <(packages_for "$1")
    if ! has_command apt-get || ! has_command dpkg-query; then
        die "this is not a Debian system, and only Debian's packages are known here" \
            "the set-up is made for Debian 12; there it would install: ${packages[*]}"
    fi
    for package in "${packages[@]}"; do
        is_installed "$package" || missing+=("$package")
    done
    ((${#missing[@]})) || return 0

    say "Debian packages to install: ${missing[*]}"
    local by_hand="as root, run: apt-get update && apt-get install --no-install-recommends ${missing[*]}"
    if ((EUID != 0)); then
        has_command sudo || die "installing packages needs root, and there is no sudo" "$by_hand"
        # Asked for now: the steps put their output aside.
        sudo -v || die "sudo refused" "$by_hand"
    fi
    step "Debian package lists" "check the network and /etc/apt/sources.list*, then run this again" update_lists
    step "${#missing[@]} Debian packages and what they need" \
        "apt-get's own words are above; once they are settled, run this again" install_missing "${missing[@]}"
}

as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }
update_lists() { as_root apt-get update; }
install_missing() {
    local policy=/usr/sbin/policy-rc.d kept=0 package
    # Nothing that is installed here is wanted as a service: not now, and, for the brokers, not after a boot.
    if [[ -e $policy ]]; then
        kept=1
    else
        as_root install -m 755 /dev/stdin "$policy" <<<$'#!/bin/sh\nexit 101'
    fi
    local done=0
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install --yes --no-install-recommends -o DPkg::Lock::Timeout=300 "$@" || done=$?
    ((kept)) || as_root rm -f "$policy"
    for package in "$@"; do
        [[ $package != redis-server && $package != rabbitmq-server ]] || ! has_command systemctl ||
            as_root systemctl disable "$package" || true
    done
    return "$done"
}

# download_deb DIR PACKAGE: the package's file, unpacked nowhere. As root apt would hand the download to a
# user that may not write here.
download_deb() {
    local unboxed=()
    ((EUID != 0)) || unboxed=(-o APT::Sandbox::User=root)
    (cd "$1" && apt-get download "${unboxed[@]}" "$2")
}
