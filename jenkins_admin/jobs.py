"""From what a person calls a model to a job in Jenkins."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from jenkins_admin import branchnames
from jenkins_admin.connection import JenkinsError
from jenkins_admin.render import complete, path_of
from jenkins_admin.schema import JenkinsYaml, Model
from jenkins_admin.server import Server, job_url
from stages.errors import MlciError, UsageError

_PRIMARY = ("main", "master", "trunk")


@dataclass(frozen=True)
class Job:
    """A job that can be built: its path in Jenkins, and what to call it in messages (`flight-delays/main`).

    `model` and `branch` are what names it on the command line.
    """

    path: str
    label: str
    model: str = ""
    branch: str | None = None

    def words(self, number: int | None = None) -> str:
        """The job, and one of its builds, as arguments: `flight-delays 12 --branch dev`."""
        words = [self.model or self.label, *([] if number is None else [str(number)])]
        return shlex.join([*words, *([] if self.branch is None else ["--branch", self.branch])])


def model_named(settings: JenkinsYaml, name: str) -> Model:
    """The model of that name, or of that path below the managed folder. Raises: UsageError: JEN_NO_MODEL."""
    root = settings.root.name
    paths = {path_of(model, settings): model for model in settings.models}
    wanted = name.strip("/")
    for path in (wanted, f"{root}/{wanted}"):
        if path in paths:
            return paths[path]
    named = [model for model in settings.models if model.name == wanted]
    if len(named) == 1:
        return named[0]
    if named:
        raise UsageError("JEN_NO_MODEL", f"{name!r} is the name of {len(named)} models", "give the folder as well")
    known = [path.removeprefix(f"{root}/") for path in paths]
    for model in known:
        if wanted.startswith(f"{model}/"):
            branch = wanted.removeprefix(f"{model}/")
            todo = f"a branch is given as: {shlex.join([model, '--branch', branch])}"
            raise UsageError("JEN_NO_MODEL", f"there is no model {name!r} in the file", todo)
    raise UsageError("JEN_NO_MODEL", f"there is no model {name!r} in the file", nearest(name, known))


def nearest(word: str, known: Sequence[str]) -> str:
    """The name that `word` was probably meant to be, whichever case it is in, or all there are."""
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    if close:
        return f"did you mean {lower[close[0]]!r}?"
    return f"there are: {', '.join(known)}" if known else "there is none"


def resolve(server: Server, settings: JenkinsYaml, name: str, branch: str | None = None) -> Job:
    """The job of a model: itself, or that of one of its branches (default: main, master, trunk, or the only one).

    Raises:
        UsageError: JEN_NO_MODEL, JEN_NO_BRANCH.
        JenkinsError: JEN_NOT_FOUND, JEN_NOT_JENKINS, …
    """
    return job_of(server, settings, model_named(settings, name), branch)


def job_of(server: Server, settings: JenkinsYaml, model: Model, branch: str | None = None) -> Job:
    """`resolve` for a model that is known."""
    path = path_of(model, settings)
    told = path.removeprefix(f"{settings.root.name}/")
    if complete(model, settings.defaults).kind == "pipeline":
        if branch is not None:
            raise UsageError("JEN_NO_BRANCH", f"{told} is a pipeline of one branch", "leave the branch out")
        return Job(path, model.name, told)
    if branch is not None:
        return Job(f"{path}/{branchnames.encode(branch)}", f"{model.name}/{branch}", told, branch)
    listed = server.children(path)
    if listed is None:
        raise absent(server, Job(path, model.name, told))
    # By the name that Jenkins gave it, whatever a branch of that name would be called today.
    names = {branchnames.decode(job.name): job.name for job in listed}
    branches = list(names)
    candidates = [one for one in _PRIMARY if one in names] or (branches if len(branches) == 1 else [])
    if not candidates:
        todo = f"name one with --branch: {', '.join(branches[:20])}" if branches else _look_again(server, path, told)
        what = "has no branch job yet" if not branches else f"has {len(branches)} branches and none is called main"
        raise UsageError("JEN_NO_BRANCH", f"{told} {what}", todo)
    branch = candidates[0]
    return Job(f"{path}/{names[branch]}", f"{model.name}/{branch}", told, branch)


def _look_again(server: Server, path: str, told: str) -> str:
    seen = f"{server.connection.url}{job_url(path)}/indexing/console"
    return f"mlci-admin trigger {shlex.quote(told)} --scan looks for branches with a Jenkinsfile; what it saw: {seen}"


def absent(server: Server, job: Job) -> MlciError:
    """Why there is nothing at a job's path: no such branch, not applied yet, a proxy that changes addresses.

    Raises:
        JenkinsError: JEN_NOT_JENKINS, JEN_LOGIN, …
    """
    server.check_there()
    project, _, name = job.path.rpartition("/")
    listed = server.children(project) if job.branch is not None else None
    if listed is None:
        what = f"there is no job {job.path if job.branch is None else project} in Jenkins"
        return JenkinsError("JEN_NOT_FOUND", what, "mlci-admin apply makes it", 404)
    if name in [found.name for found in listed]:
        return proxied(job)
    names = [branchnames.decode(found.name) for found in listed]
    todo = nearest(job.branch or "", names) if names else _look_again(server, project, job.model)
    return UsageError("JEN_NO_BRANCH", f"{job.model} has no job of a branch {job.branch!r}", todo)


def proxied(job: Job) -> JenkinsError:
    """For a job that Jenkins lists and then does not find: its address does not arrive as it was sent."""
    what = f"{job.label}: Jenkins lists this job and does not find its address: a proxy in front decodes %2F"
    return JenkinsError("JEN_PROXY", what, PROXY, 404)


#: What to do about a proxy that decodes what is escaped in addresses.
PROXY = (
    "let the proxy pass addresses as they are (Apache: AllowEncodedSlashes NoDecode and ProxyPass … nocanon; "
    "nginx: proxy_pass without a path), or set server.url to an address that does not go through it"
)
