"""The record of a deployment or a rollback: `.mlci/deploy/result.json`, or `.mlci/deploy.failed/result.json`."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from stages.errors import MlciError
from stages.records import provenance, result
from stages.records.result import Result
from stages.records.stage import peak_rss_bytes
from stages.targets import lifetime
from stages.targets.base import Target
from stages.targets.environment import Environment
from stages.targets.promotion import described, record


class Attempt:
    """One run of `deploy` or `rollback`, from its start."""

    def __init__(self, environment: Environment, stage: str) -> None:
        self._environment = environment
        self._stage = stage
        self._started = dt.datetime.now(dt.UTC)
        self._clock = time.perf_counter()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what fails in the block; the last good record stays."""
        try:
            yield
        except MlciError as error:
            failed = self._environment.project.folder(f"{self._stage}.failed")
            self._result("failed", {}, error.exit_code, error).write(failed)
            raise
        else:
            shutil.rmtree(self._environment.project.folder(f"{self._stage}.failed"), ignore_errors=True)

    def done(self, target: Target) -> Result:
        """The record of a deployment that was carried out."""
        return self._finished("done", target)

    def unchanged(self, target: Target) -> Result:
        """The record of a deployment that was not needed."""
        return self._finished("skipped", target)

    def _finished(self, status: str, target: Target) -> Result:
        deployment = record(self._environment, target)
        promotion = deployment["promotion"] or {}
        version, url = deployment["version"], deployment["url"]
        verb = "still serves" if status == "skipped" else "serves"
        text = f"{version[:12]} {verb} {self._environment.name}" + (f" at {url}" if url else "")
        if deployment["ends_with_build"]:
            text += f" until this build ends ({lifetime.remedy(self._environment)})"
        overridden = None if version is None else self._environment.override(version)
        if overridden is not None:
            text += f" (gate overridden by {overridden['by']}: {overridden['reason']})"
        summary = {
            "text": text,
            "env": self._environment.name,
            "version": version,
            "url": url,
            "by": promotion.get("by"),
            "override": None if overridden is None else overridden["reason"],
            "previous": promotion.get("from"),
        }
        finished = self._result(status, summary, 0, None)
        finished.write(self._environment.project.folder("deploy"))
        return finished

    def _result(self, status: str, summary: dict[str, Any], exit_code: int, error: MlciError | None) -> Result:
        project = self._environment.project
        return Result(
            stage=self._stage,
            status=status,
            exit_code=exit_code,
            started=self._started.isoformat(timespec="milliseconds"),
            seconds=round(time.perf_counter() - self._clock, 3),
            peak_rss_bytes=peak_rss_bytes(),
            inputs=self._inputs(),
            outputs={},
            config=project.loaded.recorded("deploy", "store"),
            python=sys.version.split()[0],
            libraries={},
            git_commit=provenance.git_commit(project.root),
            summary=summary,
            error=None if error is None else described(error),
        )

    def _inputs(self) -> dict[str, dict[str, Any]]:
        """The model at hand; a rollback takes its from the store."""
        project = self._environment.project
        trained = result.read(project.folder("train"))
        if trained is None or self._stage == "rollback":
            return {}
        folder = project.folder("train").relative_to(project.root).as_posix()
        return {f"{folder}/{name}": digest for name, digest in trained.outputs.items()}
