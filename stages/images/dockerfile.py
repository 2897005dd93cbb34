"""The texts of the Dockerfiles: pure, and valid for the classic builder, which is all that docker-py speaks to."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from stages.images.context import ROOT
from stages.images.probe import PORT

#: Where things stand inside.
LIBRARIES, RUNTIME, MODEL = "/opt/mlci/python", "/opt/mlci/runtime", "/opt/mlci/model"
PROBE = f"{RUNTIME}/stages/images/probe.py"
#: The user without a name that a service runs as. Any other one works as well, with group 0.
USER = "10001:0"

#: On the stage that installs, so that it can be removed afterwards: its history holds the build arguments.
BUILD_STAGE = "mlci.stage"

_PYTHONS = ((3, 11), (3, 14))
#: Tests and tools that travel in wheels and that no service imports: a tenth of the size.
_DEAD_WEIGHT = "numpy scipy sklearn pandas joblib onnxruntime"
_DEAD_TOOLS = "onnxruntime/transformers onnxruntime/quantization onnxruntime/tools onnxruntime/datasets"


def dependencies(base: str, arguments: Iterable[str], certificates: bool, own: bool) -> str:
    """base → base with the locked packages in a folder of their own.

    `arguments`: names of build arguments for pip. `certificates`: the context has a bundle. `own`: it has packages
    besides the locked ones. pip runs in a stage of which only its packages are copied: no argument or certificate
    stays.
    """
    low, high = _PYTHONS
    check = f"import sys; low, high = {low}, {high}; sys.exit(0 if low <= sys.version_info[:2] < high else "
    check += "'mlci needs a base image with Python 3.11 to 3.13, this one has ' + sys.version.split()[0])"
    settings = [f"PYTHONUSERBASE={LIBRARIES}", "PIP_BREAK_SYSTEM_PACKAGES=1", "PIP_ROOT_USER_ACTION=ignore"]
    if certificates:
        settings += ["PIP_CERT=/tmp/mlci/certificates.pem", "SSL_CERT_FILE=/tmp/mlci/certificates.pem"]
    install = "python3 -m pip install --user --no-cache-dir --disable-pip-version-check --no-warn-script-location"
    install += " --progress-bar off"
    commands = [
        f"export {' '.join(settings)}",
        f'python3 -c "{check}"',
        f"{install} --no-deps --only-binary :all: --require-hashes -r /tmp/mlci/locked.txt",
    ]
    if own:
        commands.append(f"{install} -c /tmp/mlci/constraints.txt -r /tmp/mlci/own.txt")
    commands += [
        f"cd {LIBRARIES}/lib/python3*/site-packages",
        (
            f"for name in {_DEAD_WEIGHT}; do "
            'if [ -d "$name" ]; then find "$name" -name tests -type d -prune -exec rm -rf {} +; fi; done'
        ),
        f"rm -rf {_DEAD_TOOLS}",
    ]
    return _text(
        [
            f"FROM {base} AS install",
            f'LABEL {BUILD_STAGE}="install"',
            "USER 0",
            *(f"ARG {name}" for name in sorted(arguments)),
            "COPY install /tmp/mlci",
            "RUN " + " \\\n && ".join(commands),
            f"FROM {base}",
            f"COPY --from=install {LIBRARIES} {LIBRARIES}",
        ]
    )


def runtime(dependencies: str) -> str:
    """dependencies → a service that lacks nothing but a model."""
    health = ["python3", "-IS", PROBE, "health"]
    start = ["python3", "-P", "-m", "stages.serving", "--folder", MODEL, "--code", f"{MODEL}/code"]
    start += ["--host", "0.0.0.0", "--port", str(PORT), "--log-format", "json"]  # noqa: S104  inside its own network
    return _text(
        [
            f"FROM {dependencies}",
            "USER 0",
            f"COPY {ROOT} /",
            f"ENV PYTHONUSERBASE={LIBRARIES} PYTHONPATH={RUNTIME} HOME=/tmp",
            "ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
            (
                f"RUN python3 -m compileall -q --invalidation-mode unchecked-hash {RUNTIME} "
                '&& python3 -c "import orjson, uvicorn, numpy"'
            ),
            "WORKDIR /opt/mlci",
            f"EXPOSE {PORT}",
            "STOPSIGNAL SIGTERM",
            f"HEALTHCHECK --interval=5s --timeout=5s --start-period=120s --retries=3 CMD {json.dumps(health)}",
            f"USER {USER}",
            f"ENTRYPOINT {json.dumps(start)}",
        ]
    )


def model(runtime: str, labels: Mapping[str, str], digest: str) -> str:
    """runtime → the image of one model; all that a retrained model changes."""
    return _text(
        [
            f"FROM {runtime}",
            f"COPY {ROOT} /",
            "LABEL " + " \\\n ".join(f"{name}={_quoted(value)}" for name, value in sorted(labels.items())),
            f"CMD {json.dumps(['--version', digest])}",
        ]
    )


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("$", "\\$").replace("\n", " ") + '"'


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
