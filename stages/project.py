"""A model repository on disk: its configuration, its work folder, its code."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.config import Config, Loaded, load
from stages.errors import ConfigError

WORK = ".mlci"


@dataclass(frozen=True)
class Project:
    """A loaded configuration and the folder around it."""

    loaded: Loaded

    @classmethod
    def open(cls, path: Path, assignments: list[str] | None = None) -> Project:
        """Load ml.yaml and make the repository's code importable.

        Raises:
            ConfigError: every problem of the file; CFG_SHADOWED when the repository has a top-level module `stages`.
        """
        project = cls(load(path, assignments))
        for name in ("stages", "stages.py"):
            shadow = project.root / name
            ours = Path(__file__).resolve().parent
            if (shadow / "__init__.py" if name == "stages" else shadow).exists() and shadow.resolve() != ours:
                raise ConfigError(
                    "CFG_SHADOWED", f"{project.show(shadow)}: the name stages belongs to mlci", "rename it"
                )
        project.import_path()
        return project

    @property
    def config(self) -> Config:
        """Typed values, secrets included."""
        return self.loaded.config

    @property
    def root(self) -> Path:
        """The folder of ml.yaml; paths in the file are relative to it."""
        return self.loaded.root

    @property
    def work(self) -> Path:
        """The `.mlci` folder."""
        return self.root / WORK

    @property
    def store(self) -> Path:
        """The store's folder, where it is a directory."""
        return (self.root / Path(self.config.store).expanduser()).absolute()

    def folder(self, stage: str) -> Path:
        """Where a stage leaves its files."""
        return self.work / stage

    def path(self, text: str) -> Path:
        """A path of the configuration, relative to its file."""
        return self.root / Path(text).expanduser()

    def show(self, path: Path) -> str:
        """`path` as a person would type it from where they are."""
        try:
            shown = os.path.relpath(path)
        except ValueError:
            return str(path)
        return shown if not shown.startswith("../..") else str(path)

    def import_path(self) -> None:
        """Put the repository on `sys.path`, behind mlci's own entry."""
        root = str(self.root)
        if root in sys.path:
            return
        ours = str(Path(__file__).resolve().parent.parent)
        sys.path.insert(1 if sys.path and sys.path[0] == ours else 0, root)
        importlib.invalidate_caches()

    def function(self, name: str) -> Callable[..., Any]:
        """The user's ``module:function``.

        Raises:
            ConfigError: CFG_IMPORT: the module or the function is not there, or importing it failed.
        """
        module_name, _, attribute = name.partition(":")
        self.import_path()
        try:
            module = importlib.import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name and module_name.startswith(error.name):
                raise ConfigError(
                    "CFG_IMPORT",
                    f"{name}: there is no module {error.name!r}",
                    f"put {error.name}.py beside {self.loaded.path.name}",
                ) from None
            raise ConfigError(
                "CFG_IMPORT",
                f"{name}: importing it needs {error.name!r}, which is not installed",
                "add it to the repository's requirements.txt and install that",
            ) from error
        except (Exception, SystemExit) as error:  # the user's module may raise anything while it is imported
            raise ConfigError(
                "CFG_IMPORT",
                f"{name}: importing it failed{self.where(error)}: {type(error).__name__}: {error}",
                "correct the module",
            ) from error
        found = getattr(module, attribute, None)
        if not callable(found):
            import difflib

            names = [n for n in dir(module) if callable(getattr(module, n)) and not n.startswith("_")]
            close = difflib.get_close_matches(attribute, names, n=1)
            raise ConfigError(
                "CFG_IMPORT",
                f"{name}: {module_name} has no function {attribute!r}",
                f"did you mean {close[0]!r}?" if close else "define it there",
            )
        return found  # type: ignore[no-any-return]

    def where(self, error: BaseException) -> str:
        """` (features.py:12)`: the last line of the repository's own code in an error's trace, or nothing."""
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = Path(frame.filename)
            if path.is_relative_to(self.root) and "site-packages" not in path.parts:
                return f" ({path.relative_to(self.root)}:{frame.lineno})"
        return ""

    @contextmanager
    def located(self) -> Iterator[None]:
        """Put file and line before an error of the block that begins with a key of the configuration."""
        try:
            yield
        except ConfigError as error:
            key, colon, rest = error.what.partition(": ")
            path = tuple(key.split("."))
            if not colon or path[0] not in ("model", "data", "validate"):
                raise
            raise ConfigError(error.code, f"{self.loaded.document.where(path)}: {rest}", error.todo) from error
