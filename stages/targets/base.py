"""What every target does, in the order in which `deploy` asks for it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.serving import OVERRIDE


@dataclass(frozen=True)
class Version:
    """A model to serve.

    `folder`: the model, its signature and golden answers, digests checked. `code`: folder of the repository's own
    modules that it needs. `override`: why it serves although the gate did not approve it: reason, by, when, env.
    """

    name: str
    digest: str
    folder: Path
    code: Path | None
    golden: Mapping[str, Any]
    override: Mapping[str, Any] | None = None

    def variables(self) -> dict[str, str]:
        """What its service has to be told by variables of the environment."""
        return {} if self.override is None else {OVERRIDE: json.dumps(dict(self.override))}


@dataclass(frozen=True)
class Serving:
    """What a target finds serving an environment now.

    `version`: a digest. `details`: what `status` and `deployment.json` tell: address, process, state.
    """

    version: str
    url: str | None
    details: Mapping[str, Any]


class Target(Protocol):
    """One environment of one kind. An instance carries one deployment."""

    def build(self, version: Version) -> None:
        """Bring the candidate to life where no traffic reaches it.

        Raises:
            InfraError: it does not start, or does not get ready in time; nothing is left of it.
        """

    def prove(self) -> None:
        """Ask the candidate for the golden answers, and for refusals of malformed requests.

        Raises:
            InfraError: DEP_PROOF.
        """

    def switch(self, promote: Callable[[], None]) -> None:
        """Let traffic reach the candidate, call `promote` (it moves the alias), then take traffic from what served
        before.

        What served before stays able to come back until `watch` has ended. Whatever `promote` raises goes through;
        `restore` is then for the caller to call.
        """

    def watch(self, seconds: float) -> list[str]:
        """Look at the candidate under traffic. Returns what is wrong with it, nothing when all is well; then what
        served before is
        ended."""

    def restore(self) -> str | None:
        """Put back what served before this deployment, and end the candidate. Can be called after any verb.

        Returns:
            The digest that serves now, None if nothing does.
        """

    def serving(self) -> list[Serving]:
        """What runs for this environment now, wherever it was deployed from."""

    def answers(self, version: Version) -> bool:
        """Whether this version, and nothing else, serves the environment and gives the golden answers now."""

    def changed(self) -> list[str]:
        """The settings with which what serves now was not started, by their names in `deploy` or in the environment.
        Nothing where that is not known."""

    def repair(self, promoted: str | None) -> None:
        """End what a killed deployment left beside the `promoted` version, if that one serves."""

    def tidy(self, versions: Collection[str]) -> None:
        """Remove what is kept here for other versions than these and can be made again. Raises: InfraError."""

    def stop(self) -> list[Serving]:
        """End whatever serves the environment. Returns what was ended."""
