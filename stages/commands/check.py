"""`mlci check`: everything that can be known to be wrong without touching data. `--schema`: the JSON Schema for
editors."""

from __future__ import annotations

import json
import os
from glob import glob
from pathlib import Path
from typing import Any

from stages import bucket
from stages.answer import Answer
from stages.config.yamlfile import KeyPath
from stages.errors import ConfigError, DataError, MlciError, UsageError
from stages.project import Project

#: A value that stands for another one until the environment is known.
_REFERENCE = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"}


def check(project: Project, env: str | None = None) -> Answer:
    """Check what the configuration names: functions, estimator, metrics, test folders, the place of the store.

    `env`: the variables of this environment have to be set as well; of the others, what is not set is noted.

    Raises:
        ConfigError: everything found, at once. UsageError: CFG_USAGE: there is no such environment.
    """
    refuse(project, env)
    name = project.show(project.loaded.path)
    lines = [f"{name}: valid"]
    notes = []
    if not project.config.validation.metrics:
        notes.append("validate.metrics is empty: the gate approves nothing until it says what a good model is")
    source = project.config.data.source
    # pathlib's glob refuses an absolute pattern
    if isinstance(source, str) and ":" not in source and not glob(str(project.path(source))):  # noqa: PTH207
        notes.append(f"data.source is not here: {project.loaded.document.data['data']['source']}")
    for away, variables in project.loaded.unset.items():
        notes.append(f"deploy.{away} cannot be reached from here: not set: {', '.join(variables)}")
    if not project.config.deploy:
        notes.append("deploy is empty: mlci run ends after validate")
    return Answer([*lines, *(f"  note: {note}" for note in notes)], {"config": name, "valid": True, "notes": notes})


def refuse(project: Project, env: str | None = None, fitted: bool = False) -> None:
    """Raise everything that `check` finds; `mlci run` asks before it starts.

    `fitted`: the model is there and up to date, so what makes it was right.

    Raises:
        ConfigError, UsageError: as `check`. Another MlciError, with its own exit code, where it is all that is wrong.
    """
    if env is not None and env not in project.config.deploy:
        known = ", ".join(project.config.deploy) or "none is configured"
        raise UsageError("CFG_USAGE", f"--env {env}: there is no such environment", f"environments: {known}")
    found: list[MlciError] = [] if env is None else list(project.loaded.unset.get(env, {}).values())
    model = () if fitted else (_estimator, _needs)
    for one in (_functions, _source, *model, _metrics, _tests, _requirements, _store):
        try:
            one(project)
        except MlciError as error:
            found += error.problems()
    if len(found) == 1:
        raise found[0]
    if found:
        raise ConfigError.group([ConfigError(error.code, error.what, error.todo) for error in found])


def _functions(project: Project) -> None:
    data, model = project.config.data, project.config.model
    names = {("data", "transform"): data.transform}
    if model.preprocess != "auto":
        names["model", "preprocess"] = model.preprocess
    if isinstance(data.source, str) and data.source.startswith("python:"):
        names["data", "source"] = data.source.removeprefix("python:")
    problems = []
    for path, name in names.items():
        try:
            if name is not None:
                project.function(name)
        except ConfigError as error:
            problems.append(ConfigError(error.code, f"{project.loaded.document.where(path)}: {error.what}", error.todo))
    if problems:
        raise ConfigError.group(problems)


def _source(project: Project) -> None:
    """What reading the source needs is installed.

    Raises:
        DataError: DAT_SOURCE.
    """
    source = project.config.data.source
    if not isinstance(source, str):
        from stages.data import sqlsource

        sqlsource.require_driver(source, project.root)
    elif source.lower().startswith("s3://"):
        try:
            bucket.require_client()
        except bucket.Failure as failure:
            where = project.loaded.document.where(("data", "source"))
            raise DataError("DAT_SOURCE", f"{where}: {failure.what}", failure.todo) from failure


def _estimator(project: Project) -> None:
    """The pipeline can be made, and saved when it is fitted.

    Raises:
        ConfigError: CFG_ESTIMATOR, CFG_PREPROCESS, CFG_SEARCH. ArtefactError: MOD_UNTRUSTED, MOD_NOT_SKOPS,
        MOD_NOT_SAVED.
    """
    from stages.model import rehearsal, search
    from stages.model.signature import signature

    model = project.config.model
    pipeline = _pipeline(project)
    if pipeline is None:
        return
    with project.located():
        if model.search is not None:
            search.parameters(model.search, pipeline)
    rehearsal.check_without_data(pipeline, signature(project.config, None, None), project.config.task)


def _pipeline(project: Project) -> Any:
    """The unfitted pipeline; None where the user's function cannot be had, which `_functions` says."""
    from stages.model import training

    model = project.config.model
    try:
        own = None if model.preprocess == "auto" else project.function(model.preprocess)
    except ConfigError:
        return None
    with project.located():
        return training.assemble(project.config, own)


def _metrics(project: Project) -> None:
    """Each metric exists and is for the task. Raises: ConfigError: CFG_METRIC, CFG_IMPORT."""
    from stages.model import metrics

    config = project.config
    problems = []
    for path, name in _asked(project).items():
        try:
            if ":" in name:
                metrics.register(name, project.function(name))
            metrics.check_task(name, config.task)
        except ConfigError as error:
            problems.append(ConfigError(error.code, f"{project.loaded.document.where(path)}: {error.what}", error.todo))
    if problems:
        raise ConfigError.group(problems)


def _needs(project: Project) -> None:
    """The estimator gives what each metric is computed from. Raises: ConfigError: CFG_METRIC."""
    from stages.model import metrics, training

    try:
        pipeline = _pipeline(project)
    except MlciError:
        return  # `_estimator` says so
    problems = []
    for path, name in _asked(project).items():
        try:
            if pipeline is not None and name in metrics.known():
                training.check_needs(name, pipeline.steps[-1][1])
        except ConfigError as error:
            problems.append(ConfigError(error.code, f"{project.loaded.document.where(path)}: {error.what}", error.todo))
    if problems:
        raise ConfigError.group(problems)


def _asked(project: Project) -> dict[KeyPath, str]:
    """Where a metric is named → its name."""
    config = project.config
    asked: dict[KeyPath, str] = {("validate", "metrics", name): name for name in config.validation.metrics}
    if config.model.search is not None and config.model.search.metric is not None:
        asked["model", "search", "metric"] = config.model.search.metric
    return asked


def _tests(project: Project) -> None:
    from stages.test import folders

    folders(project)


def _requirements(project: Project) -> None:
    name = project.config.environment.requirements
    if name is not None and not project.path(name).is_file():
        where = project.loaded.document.where(("environment", "requirements"))
        raise ConfigError("CFG_FILE", f"{where}: no such file: {name}", "write it, or remove the key")


def _store(project: Project) -> None:
    """An s3 store needs its client. In CI, a store inside the workspace is lost with it, and every model would be the
    first.

    Raises:
        ConfigError: STO_CLIENT, CFG_STORE_IN_WORKSPACE.
    """
    if project.config.store.startswith("s3://"):
        try:
            bucket.require_client()
        except bucket.Failure as failure:
            where = project.loaded.document.where(("store",))
            raise ConfigError("STO_CLIENT", f"{where}: {failure.what}", failure.todo) from failure
        return
    if not (os.environ.get("CI") or os.environ.get("JENKINS_URL")):
        return
    config = project.config
    matters = any(bound.margin is not None for bound in config.validation.metrics.values())
    matters = matters or any(target.target in ("container", "service") for target in config.deploy.values())
    places = [
        project.root,
        *(Path(os.environ[name]) for name in ("WORKSPACE", "GITHUB_WORKSPACE") if os.environ.get(name)),
    ]
    if matters and any(project.store.is_relative_to(place) for place in places):
        raise ConfigError(
            "CFG_STORE_IN_WORKSPACE",
            f"{project.loaded.document.where(('store',))}: {project.store} lies in the workspace and is lost with it",
            "set store (or MLCI_STORE) to a folder that outlives the build and that all agents see, or to s3://…",
        )


def schema() -> Answer:
    """The JSON Schema of ml.yaml, for editors and other tools."""
    text = json.dumps(json_schema(), indent=2, ensure_ascii=False)
    return Answer([text])


def json_schema() -> dict[str, Any]:
    """JSON Schema (draft 2020-12) of ml.yaml. A ``${VAR}`` may stand for any number, boolean or list."""
    from stages.config.schema import Config

    whole: dict[str, Any] = _with_references(Config.model_json_schema(by_alias=True))
    whole["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    whole["title"] = "ml.yaml of mlci"
    return whole


def _with_references(node: Any) -> Any:
    if isinstance(node, list):
        return [_with_references(item) for item in node]
    if not isinstance(node, dict):
        return node
    node = {key: _with_references(value) for key, value in node.items()}
    if node.get("type") in ("number", "integer", "boolean", "array"):
        outside = {key: node.pop(key) for key in ("default", "title", "description") if key in node}
        return {"anyOf": [node, _REFERENCE], **outside}
    return node
