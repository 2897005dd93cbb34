#!/bin/sh
# Static checks, each under its own heading; the first that fails ends it. `make lint` and `make test` call this.
set -eu
cd "$(dirname "$0")/.."
PATH=$PWD/.venv/bin:$PATH

section() { printf '\n== %s\n' "$*"; }

section ruff check
ruff check .
section ruff format --check
ruff format --check --quiet . || { echo "Run 'make format' to put it right." >&2; exit 1; }

folders=
for folder in stages jenkins_admin tests benchmarks tools; do
    # mypy takes a folder without Python in it for a mistake.
    [ -z "$(find "$folder" -name '*.py' 2>/dev/null | head -n 1)" ] || folders="$folders $folder"
done
section "mypy --strict$folders"
# shellcheck disable=SC2086
mypy $folders
section lint-imports
lint-imports --no-logo
