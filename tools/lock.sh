#!/bin/sh
# Rewrites requirements.txt and requirements-dev.txt from pyproject.toml: exact versions with hashes, one set for every
# supported Python and platform, and no address of any index. Versions already locked stay, unless UPGRADE=1.
set -eu
cd "$(dirname "$0")/.."

uv=$(command -v uv || true)
if [ -x .venv/bin/uv ]; then
    uv=.venv/bin/uv
fi
if [ -z "$uv" ]; then
    echo "lock: uv is missing; run 'sh tools/setup.sh --dev' first" >&2
    exit 2
fi

compile() {
    output=$1
    shift
    # --fork-strategy fewest: one version of a library for all Pythons, so that a model trained on one loads on another.
    "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --fork-strategy fewest \
        --generate-hashes --no-emit-index-url --no-emit-find-links ${UPGRADE:+--upgrade} \
        --custom-compile-command "make lock" --output-file "$output" "$@"
}

compile requirements.txt
compile requirements-dev.txt --extra dev --constraint requirements.txt

# What an image installs: the parts of requirements.txt that a service imports. tzdata: slim images may have no zones.
service='httptools numpy orjson prometheus-client tzdata uvicorn'
image() {
    output=$1
    shift
    printf '%s\n' $service "$@" | "$uv" pip compile - --quiet --universal --python-version 3.11 --fork-strategy fewest \
        --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --constraint requirements.txt \
        --custom-compile-command "make lock" --output-file "$output"
}

image stages/images/onnx.txt onnxruntime
image stages/images/sklearn.txt joblib pandas scikit-learn skops
# What mlci itself brings to a training run, the s3 extra included: an image does not need it.
{
    cat requirements.txt
    "$uv" pip compile pyproject.toml --quiet --universal --python-version 3.11 --no-annotate --no-header --extra s3 \
        --constraint requirements.txt
} | sed -n 's/^\([a-z0-9][a-z0-9.-]*\)==.*/\1/p' | LC_ALL=C sort -u >stages/images/tooling.txt
grep -c '==' requirements.txt requirements-dev.txt stages/images/*.txt
