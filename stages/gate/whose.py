"""Which environment's model is the champion. Imports nothing heavy: an unchanged `mlci validate` asks this too."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.config import Config


def environment(config: Config) -> str | None:
    """The configured one, else the last container or service environment, else the last; None where there is none."""
    if config.validation.champion is not None:
        return config.validation.champion
    remote = [name for name, target in config.deploy.items() if target.target in ("container", "service")]
    every = remote or list(config.deploy)
    return every[-1] if every else None


def needed(config: Config) -> bool:
    """Whether any rule looks at the champion: a metric has a margin, or drift is configured."""
    settings = config.validation
    return settings.drift is not None or any(bound.margin is not None for bound in settings.metrics.values())
