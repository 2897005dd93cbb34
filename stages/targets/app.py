"""Target `app`: one file that scores files on a machine with Python alone, proved by running it without anything
else."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.config.schema import ReadOptions
from stages.errors import ArtefactError, InfraError
from stages.product import app
from stages.records import jsonfile
from stages.records.atomic import disk_errors
from stages.records.jsonfile import read_json
from stages.serving.golden import compare
from stages.targets.artefact import FileTarget, Made
from stages.targets.base import Version

log = logging.getLogger("mlci")


class AppTarget(FileTarget):
    """See `base.Target`. `read`: how text files are read unless the version's record or the command line says
    otherwise."""

    suffix = ".pyz"

    def __init__(self, folder: Path, read: Mapping[str, Any]) -> None:
        super().__init__(folder)
        self._read = read

    def make(self, version: Version, folder: Path) -> Made:
        """Write the application."""
        log.info("packing what %s needs; packages are kept for the next time", version.name)
        read = _read_by_training(version.folder) or self._read
        built = app.build(version.name, version.digest, version.folder, version.code, read)
        path = folder / built.file
        with disk_errors(path):
            path.write_bytes(built.content)
            path.chmod(0o750)
        told = ("python", "platform", "glibc", "carries")
        log.info("wrote %s, %.0f MB, for Python %s", built.file, len(built.content) / 1e6, built.about["python"])
        return Made(path, {key: built.about[key] for key in told})

    def ask(self, made: Made, version: Version) -> list[str]:
        """Score the golden rows with the very file, in an empty environment, by an interpreter that sees no other
        package."""
        with disk_errors(made.path), tempfile.TemporaryDirectory(prefix="mlci-app-") as scratch:
            return differences(made.path, version.golden, Path(scratch))


def _read_by_training(folder: Path) -> dict[str, Any] | None:
    """How the text files that the version was trained on were read, by its own record; None where that is not known."""
    try:
        section = read_json(folder / "prepare.json")["key"]["config"]["data"].get("read", {})
        return ReadOptions.model_validate(section).model_dump()
    except (ArtefactError, KeyError, TypeError, AttributeError, ValueError):
        return None


def differences(path: Path, golden: Mapping[str, Any], scratch: Path) -> list[str]:
    """Where the application's answers differ from the recorded ones. `scratch`: a folder that it may fill.

    Raises:
        InfraError: DEP_PROOF_LOST: it does not run.
    """
    rows = [row for body in golden["requests"] for row in body["rows"]]
    asked, told = scratch / "rows.jsonl", scratch / "answers.jsonl"
    asked.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    done = run(path, [str(asked), "-o", str(told)], scratch)
    if done.returncode:
        last = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["no output"]
        raise InfraError(
            "DEP_PROOF_LOST",
            f"{path.name} does not run by itself: {' '.join(last[-2:])}",
            "what was there before still is; see the message",
        )
    answers = iter([jsonfile.parse(line) for line in told.read_text(encoding="utf-8").splitlines()])

    def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        taken: list[dict[str, Any]] = [next(answers, {}) for _ in body["rows"]]
        said: dict[str, Any] = {"predictions": [row.get("prediction") for row in taken]}
        names = [name for name in taken[0] if name.startswith("probability_")] if taken else []
        if names:
            said["probabilities"] = [{n.removeprefix("probability_"): row[n] for n in names} for row in taken]
        return said

    wrong = compare(golden, ask)
    asked.write_text('{"rows": [\n"no row"\n', encoding="utf-8")
    refused = run(path, [str(asked), "-o", str(scratch / "answers.parquet")], scratch)
    return wrong + ([] if refused.returncode == 3 else [f"malformed rows ended with {refused.returncode}, not refused"])


def run(path: Path, words: list[str], cache: Path) -> subprocess.CompletedProcess[str]:
    """Run an application: no variable but where to unpack, no site-packages, nothing of the user's."""
    return subprocess.run(
        [sys.executable, "-I", "-S", str(path), *words],
        env={"MLCI_CACHE": str(cache)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
