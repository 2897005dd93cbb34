#!/bin/sh
# Makes .venv with mlci, mlci-admin and their locked dependencies; --dev adds what `make test` needs.
# Nothing to do: it says so at once. PYTHON chooses the interpreter. Exit 2: something is missing, and it says what.
set -eu
cd "$(dirname "$0")/.."

level=run
if [ "${1-}" = --dev ]; then
    level=dev
fi
stamp=.venv/.mlci-setup

say() { printf 'setup: %s\n' "$*"; }
fail() {
    printf 'setup: %s\n' "$1" >&2
    printf 'setup: %s\n' "$2" >&2
    exit 2
}

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON-}" ]; then
        supported "$PYTHON" || fail "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13." "Name another one, or leave PYTHON out."
        echo "$PYTHON"
        return
    fi
    for candidate in python3 python3.13 python3.12 python3.11; do
        if supported "$candidate"; then
            echo "$candidate"
            return
        fi
    done
    fail "no Python 3.11, 3.12 or 3.13 was found." "Install one (Debian, Ubuntu: apt-get install python3), or give its path: make setup PYTHON=…"
}

digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else shasum -a 256; fi | cut -d ' ' -f 1
}

key() {
    { pwd; cat requirements.txt requirements-dev.txt pyproject.toml tools/setup.sh; } | digest
}

up_to_date() {
    [ -f "$stamp" ] && read -r had_level had_key <"$stamp" && [ "$had_key" = "$(key)" ] || return 1
    [ "$had_level" = dev ] || [ "$level" = run ] || return 1
    supported .venv/bin/python || return 1
    [ -z "${PYTHON-}" ] || [ "$("$PYTHON" -V 2>&1)" = "$(.venv/bin/python -V)" ]
}

make_venv() {
    if [ -z "${PYTHON-}" ] && supported .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        package=python3-venv
        # Debian splits venv off by version; an interpreter that is not the system's default has its own package.
        case $("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))') in
            "$(readlink -f /usr/bin/python3 2>/dev/null)") ;;
            *) package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])') ;;
        esac
        sh tools/apt.sh "$package" || fail "$python cannot make virtual environments." \
            "Install the system package for it (Debian, Ubuntu: sudo apt-get install $package), then run this again."
    fi
    say "creating .venv with $("$python" -V)"
    "$python" -m venv --clear .venv
}

# uv does not read pip's settings: where pip has been told about an index or a certificate, pip does the work.
use_uv() {
    command -v uv >/dev/null || return 1
    ! .venv/bin/python -m pip config list 2>/dev/null |
        grep -qE '\.(index-url|extra-index-url|no-index|find-links|trusted-host|proxy|cert|client-cert)='
}

# Runs a command whose output goes into a file; a line every few seconds says how far it is.
progressing() {
    output=$1
    shift
    "$@" >"$output" 2>&1 &
    running=$!
    trap 'kill "$running" 2>/dev/null; exit 130' INT TERM
    waited=0
    every=25
    [ -t 1 ] && every=5
    while kill -0 "$running" 2>/dev/null; do
        sleep 1
        waited=$((waited + 1))
        if [ $((waited % every)) -eq 0 ]; then
            say "$waited s: $(find .venv/lib -maxdepth 3 -name '*.dist-info' 2>/dev/null | wc -l | tr -d ' ') of $packages packages installed"
        fi
    done
    trap - INT TERM
    wait "$running" || {
        code=$?
        cat "$output" >&2
        return "$code"
    }
}

# uv would read the constraints in pyproject.toml, which are for making the lock, and refuse them beside its hashes.
# Settings of the user and the machine it finds from anywhere.
outside() { (cd / && exec "$@"); }

install_locked() {
    requirements=requirements.txt
    if [ "$level" = dev ]; then
        requirements=requirements-dev.txt
    fi
    packages=$(grep -c '^[a-z0-9].*==' "$requirements")
    log=.venv/mlci-setup.log
    if use_uv; then
        say "installing $packages packages of $requirements with uv (one to three minutes when nothing is cached)"
        set -- uv pip install --quiet --python "$PWD/.venv/bin/python"
        progressing "$log" outside "$@" --require-hashes -r "$PWD/$requirements"
        outside "$@" --no-deps --no-build-isolation --editable "$PWD"
    else
        say "installing $packages packages of $requirements with pip (two to ten minutes when nothing is cached)"
        set -- .venv/bin/python -m pip --disable-pip-version-check install --quiet
        # --use-pep517: Debian 12's pip otherwise warns of the old way for a package that comes as source.
        progressing "$log" "$@" --use-pep517 --require-hashes -r "$requirements"
        "$@" --no-deps --no-build-isolation --editable .
    fi
    rm -f "$log"
}

# Two setups in one folder at once (make -j, an editor's task): the second waits.
if command -v flock >/dev/null; then
    exec 9<tools/setup.sh
    flock 9
fi

if up_to_date; then
    say ".venv is up to date"
else
    if [ -f "$stamp" ] && [ "$(cut -d ' ' -f 1 "$stamp")" = dev ]; then
        level=dev
    fi
    rm -f "$stamp"
    make_venv
    install_locked
    printf '%s %s\n' "$level" "$(key)" >"$stamp"
    say "done; .venv/bin/mlci --help"
fi
sh tools/engine.sh
