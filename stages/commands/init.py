"""`mlci init DATA --target COLUMN`: a working ml.yaml, tests and CI file, written from the data itself."""

from __future__ import annotations

import re
from importlib.resources import files as resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import console
from stages.answer import Answer
from stages.config.yamlfile import core_type
from stages.data.formats import check_given
from stages.errors import DataError, UsageError
from stages.records.atomic import write_bytes

if TYPE_CHECKING:
    from stages.commands.infer import Table

#: Rows under which a forest does better than histogram boosting, which needs 20 rows a leaf.
SMALL = 2_000

#: What the environment that ml.yaml deploys to is called: by the name that the CI's file deploys to.
ENVIRONMENT = {"jenkins": "local", "github": "production", "circleci": "production", "travis": "production"}


def init(data: Path, target: str, config: str, ci: str, force: bool) -> Answer:
    """Look at all of `data` and write the files of a model repository beside `config`.

    Raises:
        UsageError: CFG_FILE (no such file), CFG_EXISTS (a file is there already), CFG_USAGE (no such column).
        DataError: DAT_EMPTY, DAT_FORMAT: the file holds nothing to learn from.
    """
    from stages.commands.infer import look

    path = Path(config).absolute()
    check_given(data, str(data))
    with console.progress("init") as advance:
        table = look(data, target, advance)
    if target not in table.columns:
        import difflib

        close = difflib.get_close_matches(target, table.columns, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"columns: {', '.join(list(table.columns)[:20])}"
        raise UsageError("CFG_USAGE", f"--target {target}: {data.name} has no such column", hint)
    kind = table.columns[target]
    _require_features(data, target, table)
    if kind.distinct < 2:
        raise DataError(
            "DAT_EMPTY",
            f"{data.name}: {target} has {kind.distinct} distinct value(s)",
            "there is nothing to predict; name another column",
        )
    regression = kind.type == "number" or (kind.type == "integer" and kind.distinct > 20)
    if kind.type in ("datetime", "text") or (not regression and kind.distinct > 200):
        raise DataError(
            "DAT_FORMAT",
            f"{data.name}: {target} has {kind.distinct} distinct {kind.type} values",
            "a target is a number, or a class of few values",
        )
    values = _values(data, target, table, regression, path) | {"config": path.name, "environment": ENVIRONMENT[ci]}
    written = {path.name: _render("ml.yaml", values)}
    for name in ("tests/unit/test_contract.py", "tests/integration/test_service.py", "requirements.txt", ".gitignore"):
        written[name] = _render(Path(name).name.lstrip("."), values)
    from stages.commands.ci_files import files as ci_files

    written |= ci_files(ci)
    present = [name for name in written if (path.parent / name).exists()]
    if present and not force:
        raise UsageError(
            "CFG_EXISTS",
            f"already there: {', '.join(present)}",
            "use --force to replace them, or another folder with -C DIR",
        )
    for name, text in written.items():
        write_bytes(path.parent / name, text.encode())
    lines = [f"wrote {name}" for name in written]
    lines += [f"note: {note}" for note in table.notes]
    missing = kind.missing / table.rows
    if missing:
        lines.append(f"note: {missing:.1%} of the rows have no {target}; they go to quarantine (data.max_bad_fraction)")
    if table.refused > missing:
        lines.append(f"note: {table.refused:.2%} of the rows do not meet the contract; they go to quarantine")
    return Answer([*lines, "next: mlci run"], {"files": list(written)})


def _require_features(data: Path, target: str, table: Table) -> None:
    """Raises: DataError: DAT_EMPTY: no column could be learned from."""
    others = {name: column for name, column in table.columns.items() if name != target}
    if not any(column.feature for column in others.values()):
        named = ", ".join(f"{name} ({column.why})" for name, column in others.items()) or "there is none"
        raise DataError(
            "DAT_EMPTY",
            f"{data.name}: no column besides {target} can be learned from: {named}",
            "; ".join(table.notes) or "give data with columns that say something about the target",
        )


def _values(data: Path, target: str, table: Table, regression: bool, path: Path) -> dict[str, Any]:
    import os

    small = table.rows < SMALL
    family = ("RandomForest" if small else "HistGradientBoosting") + ("Regressor" if regression else "Classifier")
    kind = table.columns[target]
    metric = "r2" if regression else "roc_auc" if kind.distinct == 2 else "balanced_accuracy"
    floor = 0.0 if regression else 0.5 if kind.distinct == 2 else round(1 / kind.distinct, 2)
    lines = [_column(name, column, name == target) for name, column in table.columns.items()]
    width = max(len(line[0]) for line in lines)
    return {
        "name": _name(path.parent.name if path.parent.name not in ("", "/") else data.stem),
        "task": "regression" if regression else "classification",
        "source": _scalar(os.path.relpath(data, path.parent) if data.is_relative_to(path.parent) else str(data)),
        "read": f"\n  read: {{{', '.join(f'{k}: {_flow(v)}' for k, v in table.read.items())}}}" if table.read else "",
        "target": _scalar(target),
        "positive": "" if regression or kind.distinct != 2 else f"\n  positive: {_positive(kind)}",
        "limit": _limit(table, target),
        "columns": "\n".join(f"    {name + ':':<{width + 1}} {{{text}}}{note}" for name, text, note in lines),
        "estimator": f"sklearn.ensemble.{family}",
        "metric": metric,
        "floor": f"{floor:g}",
        "sample": repr({n: c.example for n, c in table.columns.items() if n != target and c.feature}),
    }


def _limit(table: Table, target: str) -> str:
    if table.refused <= 0.005:
        return ""
    missing = table.columns[target].missing / table.rows
    why = f"rows without {target}" if missing > 0.5 * table.refused else "rows that do not meet the contract"
    return f"\n  max_bad_fraction: {min(table.refused + 0.01, 1):.2f}      # {why}"


def _column(name: str, column: Any, is_target: bool) -> tuple[str, str, str]:
    kind = "number" if is_target and column.type == "integer" and column.distinct > 20 else column.type
    parts = [f"type: {kind}"]
    note = ""
    if column.nullable and not is_target:
        parts.append("nullable: true")
    if column.format:
        parts.append(f"format: {_quoted(column.format)}")
    if column.timezone:
        parts.append(f"timezone: {column.timezone}")
    if not column.feature and not is_target:
        parts.append("feature: false")
        note = f"   # {column.why}"
    return _scalar(name), ", ".join(parts), note


def _positive(column: Any) -> str:
    return (
        "true" if column.type == "boolean" else _scalar(column.last) if column.type != "integer" else str(column.last)
    )


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    return name if re.match(r"[a-z]", name) else f"model-{name}".rstrip("-")


def _scalar(text: str) -> str:
    """`text` as a YAML scalar: plain where that reads back as the same text, quoted where not."""
    plain = re.fullmatch(r"[A-Za-z0-9_./-]+(?: [A-Za-z0-9_./-]+)*", text) and not text.startswith("-")
    return text if plain and core_type(text) == text else _quoted(text)


def _flow(value: Any) -> str:
    return f"[{', '.join(_quoted(str(one)) for one in value)}]" if isinstance(value, list) else _quoted(str(value))


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t").replace("\n", "\\n") + '"'


def _render(template: str, values: dict[str, Any]) -> str:
    text = (resources("stages.commands") / "templates" / f"{template}.txt").read_text(encoding="utf-8")
    for key, value in values.items():
        text = text.replace(f"@{key}@", str(value))
    return text
