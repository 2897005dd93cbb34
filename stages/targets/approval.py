"""Whether the model at hand may be deployed: the gate's word and the tests, for exactly this model."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.data import upstream
from stages.errors import ArtefactError, GateError, MlciError, UsageError
from stages.gate import whose
from stages.gate.tightened import tightened
from stages.project import Project
from stages.records import result
from stages.records.jsonfile import read_json
from stages.records.result import Result
from stages.records.stage import outputs_of, same_chain
from stages.store import model_digest
from stages.targets.environment import store_of

#: What people leave where a text is to be written.
_PLACEHOLDER = re.compile(
    r"\b(?:TODO|TBD|FIXME|XXX+|lorem ipsum)\b|<[a-z][a-z _-]*>|\{\{.*?\}\}|^\s*(?:\.\.\.|…|\?+)\s*$", re.IGNORECASE
)


@dataclass(frozen=True)
class Approval:
    """`digest`: the model. `why`: the gate's sentence. `refusals`: what stands against it, overridden by a person."""

    digest: str
    why: str
    refusals: tuple[str, ...] = ()


def approval(project: Project, override: str | None) -> Approval:
    """Check `.mlci/validate/gate.json` and `.mlci/test` against the model in `.mlci/train`.

    `override`: a person's reason to deploy whatever they say.

    Raises:
        ArtefactError: there is no model, or it does not match its record; GATE_RECORD: nor does the gate's word;
        MOD_STALE: an earlier stage would give another result now.
        GateError: DEP_NOT_APPROVED, DEP_TESTS, DEP_CARD.
        UsageError: CFG_USAGE: the reason is empty.
    """
    if override is not None and not override.strip():
        raise UsageError(
            "CFG_USAGE", "--override-gate needs a reason", "say why in a sentence; it is recorded for ever"
        )
    if override is None and result.read(project.folder("validate")) is None:
        raise GateError("DEP_NOT_APPROVED", "the gate has not judged a model here", "run: mlci run, or mlci validate")
    outputs_of(project, "train")
    upstream.require_current(project, "prepare", "train")
    same_chain(project)
    digest = model_digest(project.folder("train"))
    gate = _gate(project, digest)
    found = [error for error in (gate, _tests(project), _card(project)) if error is not None]
    if found and override is None:
        raise found[0]
    why = "" if gate else str(read_json(project.folder("validate") / "gate.json").get("sentence", ""))
    return Approval(digest, why or "the gate was overridden", tuple(error.what for error in found))


def _gate(project: Project, digest: str) -> MlciError | None:
    folder = project.folder("validate")
    judged = result.read(folder)
    todo = "run: mlci validate; or give --override-gate REASON --by NAME"
    if judged is None:
        return GateError("DEP_NOT_APPROVED", "the gate has not seen this model", todo)
    if "gate.json" in judged.changed_outputs(folder):
        what = f"{project.show(folder / 'gate.json')} does not match the record in validate/result.json"
        return ArtefactError("GATE_RECORD", what, "something changed it after validate; run: mlci validate")
    try:
        gate = read_json(folder / "gate.json")
    except ArtefactError as error:
        return GateError("DEP_NOT_APPROVED", error.what, todo)
    if not isinstance(gate, dict):
        todo = "something else wrote it; run: mlci validate"
        return ArtefactError("GATE_RECORD", f"{project.show(folder / 'gate.json')}: is no verdict", todo)
    if gate.get("model") != digest:
        return GateError("DEP_NOT_APPROVED", "the gate's word is about another model than the one in .mlci/train", todo)
    changed = _verdict_changes(project, judged, digest)
    if changed:
        return upstream.stale("validate", changed)
    if gate.get("approved") is not True:
        return GateError("DEP_NOT_APPROVED", str(gate.get("sentence", "the gate did not approve this model")), todo)
    recorded = project.loaded.recorded("validate").get("validate", {})
    if "config" not in judged.key and judged.config.get("validate", {}) != recorded:
        what = "the gate approved this model under another validate: than the one in ml.yaml now"
        return GateError("DEP_NOT_APPROVED", what, todo)
    return None


def _verdict_changes(project: Project, judged: Result, digest: str) -> list[str]:
    """What the verdict rests on and is another now. A champion that is this very model was deployed meanwhile."""
    found = upstream.changes(project, "validate") + upstream.input_changes(project, judged)
    config = judged.key.get("config")
    if isinstance(config, dict) and "champion" in config and whose.needed(project.config):
        env = whose.environment(project.config)
        alias = None if env is None else store_of(project).alias(project.config.name, env)
        now, before = None if alias is None else alias.digest, config["champion"]
        if now not in (before, digest):
            found.append(f"the champion of {env} changed from {_short(before)} to {_short(now)}")
    return found


def _short(digest: Any) -> str:
    return "none" if digest is None else str(digest)[:12]


def _card(project: Project) -> MlciError | None:
    """A model card with something left to fill in describes no model."""
    try:
        card = (project.folder("train") / "MODEL_CARD.md").read_text(encoding="utf-8")
    except OSError:
        return None
    for heading, key in (("Owner", "owner"), ("Intended use", "intended_use"), ("Limits", "limits")):
        said = card.partition(f"\n## {heading}\n")[2].partition("\n## ")[0].replace("\\", "").strip()
        left = _PLACEHOLDER.search(said)
        if left:
            what = f"the model card is not finished: {heading.lower()} says {left.group()!r}"
            todo = f"write card.{key} in ml.yaml, or leave it out, then run: mlci run; or give --override-gate REASON"
            return GateError("DEP_CARD", what, f"{todo} --by NAME")
    return None


def _tests(project: Project) -> MlciError | None:
    """What stands against the model from its tests; tests that are not configured stand against nothing."""
    configured = project.config.test
    if configured.unit is None and configured.integration is None:
        return None
    todo = "run: mlci test; or give --override-gate REASON --by NAME"
    tested = result.read(project.folder("test"))
    if tested is None:
        return GateError("DEP_TESTS", "the configured tests have not been run", todo)
    for path, digest in outputs_of(project, "train").items():
        if tested.inputs.get(path, {}).get("sha256") != digest["sha256"]:
            return GateError("DEP_TESTS", "the tests were run for another model than the one in .mlci/train", todo)
    changed = upstream.changes(project, "test")
    if changed:
        return upstream.stale("test", changed)
    if tested.exit_code != 0:
        text = str(tested.summary.get("text", "tests failed"))
        return GateError("DEP_TESTS", f"the tests did not pass: {text}", todo)
    return None


def refusals(project: Project, folder: Path, digest: str) -> list[str]:
    """What stands against a stored version now, a sentence each: its own verdict, `validate:` of ml.yaml, its tests.

    `folder`: of the version, its files checked.
    """
    gate = _stored(folder, "gate.json")
    if not gate:
        return ["it was stored without a verdict of the gate"]
    if gate.get("model") != digest:
        return ["its verdict is about another model"]
    if gate.get("approved") is not True:
        return [str(gate.get("sentence", "the gate did not approve it"))]
    judged, loaded = _stored(folder, "validate.json"), project.loaded
    key, rules = judged.get("key"), gate.get("rules")
    keyed = key.get("config") if isinstance(key, dict) else None
    before, now = (keyed, loaded.keyed("validate")) if keyed else (judged.get("config"), loaded.recorded("validate"))
    was, asked = ((side.get("validate") or {}) if isinstance(side, dict) else {} for side in (before, now))
    unclear = any(isinstance(rule, dict) and rule.get("status") == "inconclusive" for rule in rules or [])
    found = tightened(was if isinstance(was, dict) else {}, asked, unclear)
    if _stored(folder, "test.json").get("exit_code", 0) != 0:
        found.append("its tests did not pass")
    return found


def keep_verdict(project: Project, folder: Path) -> dict[str, bytes]:
    """The records of the verdict in `.mlci` that a stored version has otherwise: it keeps what it was first put with,
    and may have been judged again since. Empty where nothing differs. `folder`: of the version."""
    gate = project.folder("validate") / "gate.json"
    judged = result.read(project.folder("validate"))
    if judged is None or not gate.is_file():
        return {}
    key = _stored(folder, "validate.json").get("key")
    same = isinstance(key, dict) and key.get("config") == judged.key.get("config")
    if same and (folder / "gate.json").is_file() and (folder / "gate.json").read_bytes() == gate.read_bytes():
        return {}
    records = {"gate.json": gate, "validate.json": project.folder("validate") / result.FILE}
    records["test.json"] = project.folder("test") / result.FILE
    return {name: path.read_bytes() for name, path in records.items() if path.is_file()}


def _stored(folder: Path, name: str) -> dict[str, Any]:
    path = folder / name
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
