"""What targets share that make a file: it is built and proved aside, then takes the place of the one before."""

from __future__ import annotations

import os
import shutil
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from stages.errors import ArtefactError, InfraError
from stages.records.atomic import disk_errors, write_json
from stages.records.digest import sha256_file
from stages.records.jsonfile import read_json
from stages.targets.base import Serving, Version

#: Beside the file: what it is.
STATE = "artefact.json"
_CANDIDATE, _BEFORE = ".candidate", ".before"


@dataclass(frozen=True)
class Made:
    """A built file: its path, and what is told about it."""

    path: Path
    about: Mapping[str, Any]


class FileTarget(ABC):
    """See `base.Target`. `folder`: `.mlci/deploy/<env>`, where the file is put; no other file there has `suffix`."""

    suffix: ClassVar[str]

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: Made | None = None
        self._version: Version | None = None
        self._switched = False

    @abstractmethod
    def make(self, version: Version, folder: Path) -> Made:
        """Build the file into `folder`. Raises: InfraError, ArtefactError."""

    @abstractmethod
    def ask(self, made: Made, version: Version) -> list[str]:
        """What is wrong with the answers of the file, run where nothing of mlci is. Raises: InfraError."""

    # ---- the five verbs ------------------------------------------------------------------------------------

    def build(self, version: Version) -> None:
        """Build the file aside."""
        aside = self.folder / _CANDIDATE
        with disk_errors(aside):
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        self._version = version
        self._made = self.make(version, aside)

    def prove(self) -> None:
        """Ask the very file. Raises: InfraError: DEP_PROOF."""
        made, version = self._built()
        wrong = self.ask(made, version)
        if wrong:
            more = f" (and {len(wrong) - 3} more)" if wrong[3:] else ""
            raise InfraError(
                "DEP_PROOF",
                f"{made.path.name} failed its proof: {'; '.join(wrong[:3])}{more}",
                "what was there before still is; look for state, time or files that the model depends on",
            )

    def switch(self, promote: Callable[[], None]) -> None:
        """Put the file in place; the one before stays aside until `watch`."""
        made, version = self._built()
        digest = sha256_file(made.path)
        state = {
            "schema_version": 1,
            "file": made.path.name,
            "sha256": digest.sha256,
            "size": digest.size,
            "version": version.digest,
            **made.about,
        }
        with disk_errors(self.folder):
            shutil.rmtree(self.folder / _BEFORE, ignore_errors=True)
            (self.folder / _BEFORE).mkdir()
            self._switched = True
            self._move(self.folder, self.folder / _BEFORE)
            os.replace(made.path, self.folder / made.path.name)
        write_json(self.folder / STATE, state)
        promote()

    def watch(self, seconds: float) -> list[str]:
        """A file needs no watching; the one before goes."""
        for name in (_BEFORE, _CANDIDATE):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        return []

    def restore(self) -> str | None:
        """See `base.Target`."""
        if self._switched:
            self._put_back()
            self._switched = False
        shutil.rmtree(self.folder / _CANDIDATE, ignore_errors=True)
        found = self.serving()
        return found[0].version if found else None

    # ---- what is there -------------------------------------------------------------------------------------

    def serving(self) -> list[Serving]:
        """The file in place, if there is one."""
        state = _state(self.folder)
        if state is None or not (self.folder / state["file"]).is_file():
            return []
        path = self.folder / state["file"]
        told = {"state": "in place", **{k: v for k, v in state.items() if k != "schema_version"}, "url": str(path)}
        return [Serving(state["version"], str(path), told)]

    def answers(self, version: Version) -> bool:
        """Whether the proved file of this version is in place, to the byte."""
        state = _state(self.folder)
        if state is None or state["version"] != version.digest or (self.folder / _BEFORE).exists():
            return False
        path = self.folder / state["file"]
        return path.is_file() and sha256_file(path).sha256 == str(state["sha256"])

    def changed(self) -> list[str]:
        """A file has no settings."""
        return []

    def repair(self, promoted: str | None) -> None:
        """Undo a switch that was killed before the alias moved; finish one that was killed after."""
        shutil.rmtree(self.folder / _CANDIDATE, ignore_errors=True)
        if not (self.folder / _BEFORE).is_dir():
            return
        state = _state(self.folder)
        if state is not None and state["version"] == promoted:
            shutil.rmtree(self.folder / _BEFORE, ignore_errors=True)
        else:
            self._put_back()

    def tidy(self, versions: Collection[str]) -> None:  # noqa: B027  that nothing is to be done holds for each
        """Nothing is kept here but what serves."""

    def stop(self) -> list[Serving]:
        """Take the file away."""
        found = self.serving()
        with disk_errors(self.folder):
            self._remove()
        return found

    # ---- how -----------------------------------------------------------------------------------------------

    def _built(self) -> tuple[Made, Version]:
        if self._made is None or self._version is None:
            raise RuntimeError("build comes first")
        return self._made, self._version

    def _put_back(self) -> None:
        with disk_errors(self.folder):
            self._remove()
            self._move(self.folder / _BEFORE, self.folder)
            shutil.rmtree(self.folder / _BEFORE, ignore_errors=True)

    def _remove(self) -> None:
        """Also what a killed switch had no time to describe."""
        (self.folder / STATE).unlink(missing_ok=True)
        for path in self.folder.glob(f"*{self.suffix}"):
            path.unlink()

    @staticmethod
    def _move(origin: Path, to: Path) -> None:
        """Move a file and its state; the state leaves first and arrives last, so that it never promises too much."""
        state = _state(origin)
        if state is None:
            return
        to.mkdir(parents=True, exist_ok=True)
        (origin / STATE).unlink()
        if (origin / state["file"]).is_file():
            os.replace(origin / state["file"], to / state["file"])
        write_json(to / STATE, state)


def _state(folder: Path) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = read_json(folder / STATE)
        return found if {"file", "sha256", "version"} <= found.keys() else None
    except (ArtefactError, AttributeError):
        return None
