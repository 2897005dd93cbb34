"""mlci's own modules inside a wheel, under a private package of that wheel: no other wheel's copy, nor mlci itself,
meets them."""

from __future__ import annotations

import ast

from stages.images.runtime import modules

#: What a wheel calls.
ENTRIES = ("stages.product.lines",)

#: Imported by one runtime alone, when it is the one that answers.
_OF_SKLEARN = ("stages.model.persistence", "stages.model.frames", "stages.model.answers")
_OF_ONNX = ("stages.serving.onnx_predictor", "stages.model.inputs")
_NEVER = ("stages.config",)


def runtime(package: str, onnx: bool) -> dict[str, bytes]:
    """Path (`product/embedded.py`) → source of the modules that answer, importing each other below `package`."""
    outside = (*_NEVER, *(_OF_SKLEARN if onnx else _OF_ONNX))
    entries = ENTRIES if onnx else (*ENTRIES, "stages.model.datetimes")
    found = modules(entries, outside)
    return {path.removeprefix("stages/"): moved(source, package) for path, source in found.items()}


def moved(source: bytes, package: str) -> bytes:
    """The source of a module with its imports of `stages` leading to `package`.

    Raises:
        ValueError: an import that binds the name `stages`, which text below it may use.
    """
    lines = source.decode().splitlines(keepends=True)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import) and any(_ours(alias.name) for alias in node.names):
            raise ValueError(f"line {node.lineno}: write from stages… import …")
        if isinstance(node, ast.ImportFrom) and not node.level and _ours(node.module or ""):
            lines[node.lineno - 1] = lines[node.lineno - 1].replace("stages", package, 1)
    return "".join(lines).encode()


def _ours(module: str) -> bool:
    return module.split(".")[0] == "stages"
