"""`mlci run`: the stages in order, up to a deployed model."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator
from functools import partial

from stages import console
from stages.answer import Answer
from stages.commands import check, report
from stages.errors import MlciError
from stages.project import Project
from stages.records.lock import exclusive
from stages.records.result import Result
from stages.records.stage import is_current


def run(project: Project, env: str | None = None) -> Answer:
    """Run all stages, deploying to `env`, else to the first environment; with none configured it ends after validate.

    Stages that are unchanged are skipped. Stops at the first that fails and names the command that resumes.

    Raises:
        UsageError: CFG_USAGE: there is no such environment. ConfigError: all that `mlci check` finds; CFG_ENV_UNSET:
        the environment lacks a variable.
    """
    check.refuse(project, env, _is_fitted(project))
    if project.config.deploy:
        project.loaded.whole(env or next(iter(project.config.deploy)))  # now, not after hours of training
    answer = Answer(data={"stages": []})
    with exclusive(project.work):
        for name, stage in _stages(project, env):
            try:
                result = stage()
            except MlciError as error:
                answer.error, answer.exit_code = error, error.exit_code
                answer.data["stages"].append({"stage": name, "status": "failed", "exit_code": error.exit_code})
                break
            console.say(report.line(result))
            answer.data["stages"].append(report.data(project, result))
            if result.exit_code:
                answer.error, answer.exit_code = report.error_of(result), result.exit_code
                break
    if answer.exit_code:
        answer.data["resume"] = _resume()
        answer.lines.append(f"when that is mended, resume with: {answer.data['resume']}")
    return answer


def _is_fitted(project: Project) -> bool:
    """Whether the model is up to date with the data that are there: then its configuration was right."""
    from stages.train import describe

    try:
        return is_current(project, describe(project))
    except MlciError:
        return False


def _stages(project: Project, env: str | None) -> Iterator[tuple[str, Callable[[], Result]]]:
    """Stages with what runs them; each is imported only when its turn comes."""
    from stages.prepare import prepare

    yield "prepare", partial(prepare, project)
    from stages.train import train

    yield "train", partial(train, project)
    from stages.test import test

    yield "test", partial(test, project)
    from stages.validate import validate

    yield "validate", partial(validate, project)
    if project.config.deploy:
        from stages.deploy import deploy

        yield "deploy", partial(deploy, project, env=env)


def _resume() -> str:
    """The command as it was given: stages that are done are skipped, so running it again resumes."""
    words = [word for word in sys.argv[1:] if word != "--json"]
    return "mlci " + shlex.join(words or ["run"])
