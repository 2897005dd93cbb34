"""Target `package`: a wheel with a typed `predict()`, proved in an empty virtual environment."""

from __future__ import annotations

import json
import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import InfraError
from stages.product import wheel
from stages.records import jsonfile
from stages.records.atomic import disk_errors
from stages.serving.golden import compare
from stages.targets.artefact import FileTarget, Made
from stages.targets.base import Version
from stages.targets.proof import MALFORMED
from stages.targets.venv import Venv

log = logging.getLogger("mlci")


class PackageTarget(FileTarget):
    """See `base.Target`."""

    suffix = ".whl"

    def make(self, version: Version, folder: Path) -> Made:
        """Write the wheel."""
        built = wheel.build(version.name, version.digest, version.folder, version.code)
        path = folder / built.file
        with disk_errors(path):
            path.write_bytes(built.content)
        log.info("wrote %s, which needs %s", built.file, ", ".join(built.requires))
        about = {
            "package": built.package,
            "package_version": built.version,
            "requires": list(built.requires),
            "constraints": built.constraints,
        }
        return Made(path, about)

    def ask(self, made: Made, version: Version) -> list[str]:
        """Install the wheel into an empty environment, with the locked versions of what it needs, and ask it there."""
        with disk_errors(made.path), tempfile.TemporaryDirectory(prefix="mlci-wheel-") as scratch:
            log.info("installing it into an empty environment")
            venv = Venv.make(Path(scratch) / "venv")
            constraints = Path(scratch) / "constraints.txt"
            constraints.write_text(made.about["constraints"], encoding="utf-8")
            venv.install("-c", str(constraints), str(made.path))
            return _differences(venv, made.about["package"], version.golden)


def _differences(venv: Venv, package: str, golden: Mapping[str, Any]) -> list[str]:
    bodies = [json.dumps(body) for body in golden["requests"]]
    done = venv.run(["-m", package], "\n".join([*bodies, *(body.decode() for body in MALFORMED), ""]))
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no output"])[-1]
        raise InfraError(
            "DEP_PROOF_LOST",
            f"the wheel does not run in an empty environment: {last}",
            f"install it by hand to see more, then: python -m {package}",
        )
    said = [jsonfile.parse(line) for line in done.stdout.splitlines()]
    answers = iter(said)
    wrong = compare(golden, lambda body: next(answers, {}))
    if len(said) != len(bodies) + len(MALFORMED):
        return wrong or [f"{len(bodies) + len(MALFORMED)} requests were asked, {len(said)} answered"]
    taken = [i + 1 for i, answer in enumerate(said[len(bodies) :]) if not 400 <= answer.get("status", 200) < 500]
    return wrong + [f"malformed request {i} was not refused" for i in taken]
