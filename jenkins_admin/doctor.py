"""Can this file be applied, from here, by this user? One line a question: fine, or what to do."""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from jenkins_admin import branchnames
from jenkins_admin.connection import JenkinsError, is_loopback
from jenkins_admin.jobs import Job, proxied
from jenkins_admin.render import complete, path_of
from jenkins_admin.schema import JenkinsYaml, SecretFile, SecretText, SshKey
from jenkins_admin.server import Server, job_url
from stages.errors import MlciError

Verdict = Literal["ok", "warning", "failed", "skipped"]

#: Plugin → oldest version whose behaviour is known here, and what it is for. Versions from a Jenkins 2.421.
REQUIRED: dict[str, tuple[str, str]] = {
    "cloudbees-folder": ("6.800", "folders"),
    "credentials": ("1200", "folder credentials"),
    "git": ("5.0", "repositories"),
    "pipeline-groovy-lib": ("600", "the shared library of a folder"),
    "workflow-cps": ("3600", "pipelines"),
    "workflow-job": ("1300", "pipelines"),
    "workflow-multibranch": ("700", "multibranch models"),
    "branch-api": ("2.1000", "multibranch models"),
    "workflow-durable-task-step": ("1200", "sh steps"),
    "pipeline-input-step": ("400", "approvals"),
    "junit": ("1200", "test and gate results"),
}
OPTIONAL: dict[str, str] = {
    "pipeline-rest-api": "lists waiting approvals; without it approve and reject read the page",
    "credentials-binding": "hands credentials to stages",
    "htmlpublisher": "shows the gate's report",
    "lockable-resources": "keeps two deployments apart",
}

#: Multibranch models whose branches are listed to find one with a slash.
_LOOKED_AT = 20


@dataclass(frozen=True)
class Check:
    """One question and its answer. `todo` says what to do unless it is fine."""

    name: str
    verdict: Verdict
    found: str
    todo: str = ""


def examine(server: Server, settings: JenkinsYaml) -> Iterator[Check]:
    """Every check in turn, as it is made. Without an answer or a login the rest is left out."""
    first = list(_address(server, settings))
    yield from first
    if any(check.verdict == "failed" for check in first):
        return
    login = _guarded("login", lambda: _login(server, settings))
    yield login
    if login.verdict == "failed":
        return
    yield _guarded("crumb", lambda: _crumb(server, settings))
    yield _guarded("folder", lambda: _folder(server, settings))
    yield from _proxy(server, settings)
    yield _guarded("create", lambda: _may_create(server, settings))
    yield _guarded("credentials", lambda: _credentials(server, settings))
    yield from _plugins(server, settings)
    yield _guarded("executors", lambda: _executors(server))
    yield _guarded("library", lambda: _library(server, settings))


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    try:
        return check()
    except MlciError as error:
        return Check(name, "failed", error.what, error.todo)


def _address(server: Server, settings: JenkinsYaml) -> Iterator[Check]:
    url = settings.server.url
    try:
        # Jenkins says its version to everybody but to whom it refuses a login.
        response = server.connection.get("login", accept=(200, 403, 404), anonymous=True)
    except MlciError as error:
        yield Check("address", "failed", error.what, error.todo)
        return
    version = response.headers.get("X-Jenkins")
    if version is not None and response.status_code == 404:
        todo = "check the path in server.url: the addresses of Jenkins' pages begin with it"
        yield Check("address", "failed", f"a Jenkins {version} answers, but none begins at {url}", todo)
        return
    if version is None:
        todo = "check server.url, its path included; a login page in front needs an exception for the API"
        yield Check("address", "failed", f"{url} answers, but not as Jenkins does", todo)
        return
    yield Check("address", "ok", f"Jenkins {version} at {url}")
    host = urlsplit(url).hostname or ""
    if url.startswith("https:"):
        yield Check("encryption", "ok", "https" + (" with server.ca_file" if settings.server.ca_file else ""))
    elif is_loopback(host):
        yield Check("encryption", "ok", "http, within this machine")
    else:
        yield Check("encryption", "warning", "plain http: token and secrets can be read on the way", "use https")


def _login(server: Server, settings: JenkinsYaml) -> Check:
    answer = server.who()
    if answer is None:
        server.check_there()
        answer = {}
    if answer.get("anonymous") or not answer.get("authenticated"):
        if settings.server.user:
            raise server.connection.stripped()
        todo = "give server.user and server.token"
        return Check("login", "failed", "not logged in: Jenkins sees an anonymous visitor", todo)
    how = "API token" if settings.server.token else "password"
    if not settings.server.token:
        return Check("login", "warning", f"{answer.get('name')}, by password", "use an API token: it needs no crumb")
    return Check("login", "ok", f"{answer.get('name')}, by {how}")


def _crumb(server: Server, settings: JenkinsYaml) -> Check:
    if settings.server.token:
        return Check("crumb", "ok", "not needed with an API token")
    answer = server.connection.json("crumbIssuer", "crumbRequestField")
    return Check("crumb", "ok", "issued" if answer else "not asked for by this Jenkins")


def _folder(server: Server, settings: JenkinsYaml) -> Check:
    root = settings.root.name
    try:
        text = server.config(root)
    except JenkinsError as error:
        if error.status != 403:
            raise
        return Check(
            "folder", "failed", f"{root}: its configuration may not be read", "grant Job/ExtendedRead and Job/Configure"
        )
    return Check("folder", "ok", f"{root} exists" if text is not None else f"{root} does not exist yet: apply makes it")


def _proxy(server: Server, settings: JenkinsYaml) -> Iterator[Check]:
    """Ask for a job of a branch with a slash, if there is one: proxies that decode addresses lose it."""
    models = (model for model in settings.models if complete(model, settings.defaults).kind != "pipeline")
    for model in itertools.islice(models, _LOOKED_AT):
        path = path_of(model, settings)
        try:
            name = next((job.name for job in server.children(path) or [] if "%" in job.name), None)
            if name is None:
                continue
            arrives = server.exists(f"{path}/{name}")
        except MlciError as error:
            yield Check("proxy", "failed", error.what, error.todo)
            return
        label = f"{model.name}/{branchnames.decode(name)}"
        if arrives:
            yield Check("proxy", "ok", f"addresses arrive as they are sent: {label}")
        else:
            trouble = proxied(Job(f"{path}/{name}", label))
            yield Check("proxy", "failed", trouble.what, trouble.todo)
        return


def _may_create(server: Server, settings: JenkinsYaml) -> Check:
    """Ask for an item without a name: refused as nameless by who may create items, as forbidden by who may not."""
    root = settings.root.name
    place = root
    while place and not server.exists(place):
        place = place.rpartition("/")[0]
    where = f"{job_url(place)}/createItem".lstrip("/")
    response = server.connection.post(where, data=b"", accept=(400, 403, 404, 500), repeat=True)
    shown = place or "the top level"
    if response.status_code == 400:
        return Check("create", "ok", f"items may be made in {shown}")
    return Check("create", "failed", f"no item may be made in {shown}", "grant Job/Create there")


def _credentials(server: Server, settings: JenkinsYaml) -> Check:
    if not settings.credentials:
        return Check("credentials", "ok", "none in the file")
    if not server.exists(settings.root.name):
        return Check("credentials", "skipped", "the folder does not exist yet")
    listed = server.credentials(settings.root.name)
    if listed is None:
        return Check(
            "credentials",
            "failed",
            "the folder's credentials cannot be seen",
            "grant Credentials/View, Create and Update",
        )
    return Check("credentials", "ok", f"{len(listed)} in the folder")


def _plugins(server: Server, settings: JenkinsYaml) -> Iterator[Check]:
    try:
        found = server.plugins()
    except MlciError as error:
        yield Check("plugins", "failed", error.what, error.todo)
        return
    if found is None:
        todo = "grant Overall/SystemRead, or ask an administrator for: " + ", ".join(REQUIRED)
        yield Check("plugins", "skipped", "the list may not be read by this user", todo)
        return
    wanted = dict(REQUIRED)
    if any(isinstance(one, SecretText | SecretFile) for one in settings.credentials):
        wanted["plain-credentials"] = ("100", "secret texts and files")
    if any(isinstance(one, SshKey) for one in settings.credentials):
        wanted["ssh-credentials"] = ("300", "SSH keys")
    kinds = {complete(model, settings.defaults).kind or "multibranch" for model in settings.models}
    if "multibranch" not in kinds:
        wanted.pop("workflow-multibranch")
        wanted.pop("branch-api")
    fine = []
    for name, (oldest, purpose) in sorted(wanted.items()):
        if name not in found:
            yield Check(f"plugin {name}", "failed", f"missing: {purpose}", f"install {name} (Manage Jenkins, Plugins)")
        elif _numbers(found[name]) < _numbers(oldest):
            yield Check(f"plugin {name}", "warning", f"{found[name]}: {purpose}", f"update it to {oldest} or newer")
        else:
            fine.append(name)
    if fine:
        yield Check("plugins", "ok", f"{len(fine)} of {len(wanted)} needed ones are there")
    for name, purpose in sorted(OPTIONAL.items()):
        if name not in found:
            yield Check(f"plugin {name}", "warning", "not installed (optional)", purpose)


def _executors(server: Server) -> Check:
    tree = "totalExecutors,busyExecutors,computer[displayName,offline,numExecutors,assignedLabels[name]]"
    answer = server.connection.json("computer", tree) or {}
    computers = answer.get("computer", [])
    online = [one for one in computers if not one.get("offline")]
    labels = sorted({str(label.get("name")) for one in online for label in one.get("assignedLabels", [])})
    total, busy = answer.get("totalExecutors", 0), answer.get("busyExecutors", 0)
    if not total and not any(one.get("numExecutors") for one in online):
        todo = "connect an agent (Manage Jenkins, Nodes); cloud agents appear when a build asks for them"
        return Check("executors", "warning", "no executor is online", todo)
    return Check("executors", "ok", f"{busy} of {total} busy; labels: {', '.join(labels) or 'none'}")


def _library(server: Server, settings: JenkinsYaml) -> Check:
    """Let the controller look the pinned version up in the library's repository: it is the one that has to reach it."""
    library, root = settings.library, settings.root.name
    if library is None:
        return Check("library", "ok", "none in the file")
    if not server.exists(root):
        return Check("library", "skipped", "the folder does not exist yet: apply, then ask again")
    where = (
        f"{job_url(root)}/descriptorByName/org.jenkinsci.plugins.workflow.libs.LibraryConfiguration/checkDefaultVersion"
    )
    params = {
        "name": library.name,
        "defaultVersion": library.version,
        "implicit": "true" if library.implicit else "false",
        "allowVersionOverride": "true" if library.allow_version_override else "false",
    }
    response = server.connection.request("POST", where, accept=(200, 403, 404, 405), repeat=True, params=params)
    lines = [" ".join(html.unescape(re.sub(r"<[^>]+>", " ", part)).split()) for part in response.text.split("<br>")]
    shown = f"{library.name}@{library.version}"
    if response.status_code != 200:
        return Check(
            "library", "skipped", f"{shown}: this Jenkins cannot be asked", "see whether a first build loads it"
        )
    if "until after saving" in lines[0]:
        return Check("library", "skipped", f"{shown} is not applied yet: apply, then ask again")
    if re.search(r"class=['\"]?ok", response.text):
        return Check("library", "ok", f"{shown}: {lines[0]}")
    # The page holds the whole output of git, and a trace.
    said = [lines[0], *(line for line in lines if line.startswith(("ERROR", "fatal", "stderr")))][:2]
    return Check("library", "failed", f"{shown}: {' '.join(said)[:300]}", "check library.git, version and credential")


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.split("v", 1)[0] if "." in version else version)[:3])
