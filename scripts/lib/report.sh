# How scripts/setup talks: one line for each thing it does, with how long it took, and one for each thing
# it cannot do, with the way out. Sourced, not run.
# shellcheck shell=bash

say() { printf 'setup  %s\n' "$*"; }

# die WHAT WAY_OUT: ends the set-up. WHAT cannot be had, WAY_OUT is what the reader can do about it.
die() {
    printf 'setup  cannot go on: %s\n' "$1" >&2
    printf '       %s\n' "${@:2}" >&2
    exit 1
}

ticker=
# On a terminal a line that counts the seconds; the work itself stays in the foreground, so that Ctrl-C
# reaches it.
start_ticker() {
    [[ -t 1 ]] || return 0
    (
        seconds=0
        while sleep 1; do
            seconds=$((seconds + 1))
            printf '\rsetup  %s ... %d s' "$1" "$seconds"
        done
    ) &
    ticker=$!
}

stop_ticker() {
    [[ -n $ticker ]] || return 0
    kill "$ticker" 2>/dev/null || true
    wait "$ticker" 2>/dev/null || true
    ticker=
    printf '\r\033[K'
}

# step LABEL WAY_OUT COMMAND...: runs COMMAND, which may be one of our functions, with its output put
# aside. If it fails, the end of that output and WAY_OUT are shown and the set-up ends.
step() {
    local label=$1 way_out=$2 log=$staging/log began=$SECONDS failed=0
    shift 2
    [[ -t 1 ]] || say "$label ..."
    start_ticker "$label"
    "$@" >"$log" 2>&1 </dev/null || failed=$?
    stop_ticker
    if ((failed)); then
        tail -n 15 "$log" | sed 's/^/       | /' >&2
        die "$label failed" "$way_out"
    fi
    say "$label: $((SECONDS - began)) s"
}

# is_file SHA256 FILE: true when FILE is there and is exactly the one we mean.
is_file() {
    [[ -f $2 ]] && sha256sum --check --status <<<"$1  $2"
}

# The stamp beside a made thing holds the digest of all that it was made from.
# recipe WORD|FILE...: that digest; a word that names a file stands for what is in it.
recipe() {
    local part
    for part in "$@"; do
        if [[ -f $part ]]; then sha256sum <"$part"; else printf '%s\n' "$part"; fi
    done | sha256sum | cut -d' ' -f1
}

# is_made NAME RECIPE FILE...: true when all FILEs are there and were made by RECIPE.
is_made() {
    local stamp=$assets/.made/$1 wanted=$2 file
    [[ -f $stamp && $(<"$stamp") == "$wanted" ]] || return 1
    for file in "${@:3}"; do [[ -e $file ]] || return 1; done
}

# mark_made NAME RECIPE: to be called once the files are in place.
mark_made() {
    mkdir -p "$assets/.made"
    printf '%s\n' "$2" >"$staging/stamp"
    mv "$staging/stamp" "$assets/.made/$1"
}
