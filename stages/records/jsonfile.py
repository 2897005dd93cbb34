"""Reading the JSON files that stages leave. A service does so too, and imports nothing else of the stages for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError


def read_json(path: Path) -> Any:
    """JSON of a stage's file. Raises: ArtefactError: MOD_RECORD when it is missing or not JSON."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ArtefactError(
            "MOD_RECORD", f"{path}: cannot be read: {error}", "run the stage that writes it again"
        ) from error
