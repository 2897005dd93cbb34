"""`protect: true`: branches build without the credentials of deployments, one job of the main branch has them.

A protected multibranch model gets a second job, of the same name, in the folder `deploy` beside it. That job runs the
Jenkinsfile of the main branch alone. Credentials of deployments are stored in that folder, where no branch's build sees
them. `mlPipeline` hands over to it; docs/security.md says who can do what.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from stages.config.yamlfile import KeyPath

if TYPE_CHECKING:
    from jenkins_admin.plan import Action
    from jenkins_admin.schema import Credential, JenkinsYaml, Model

#: The folder of the jobs that deploy, beside the models that they deploy.
FOLDER = "deploy"
#: The parameter by which a branch's build says which commit to deploy.
COMMIT = "MLCI_COMMIT"


def expanded(settings: JenkinsYaml) -> JenkinsYaml:
    """`settings` with the job that deploys added for each protected model."""
    added = [_deploy_job(model, branch, settings) for model, branch in _protected(settings)]
    return settings.model_copy(update={"models": [*settings.models, *added]}) if added else settings


def _protected(settings: JenkinsYaml) -> Iterator[tuple[Model, str]]:
    """Each protected multibranch model and its main branch."""
    from jenkins_admin.render import complete

    for model in settings.models:
        whole = complete(model, settings.defaults)
        given = settings.protect if whole.protect is None else whole.protect
        if (whole.kind or "multibranch") == "multibranch" and given is not False:
            yield model, "main" if given is True else given.branch


def _folder(model: Model, settings: JenkinsYaml) -> str:
    """The folder of its deploy job, below the managed one."""
    from jenkins_admin.render import complete

    folder = complete(model, settings.defaults).folder
    return f"{folder}/{FOLDER}" if folder else FOLDER


def _deploy_job(model: Model, branch: str, settings: JenkinsYaml) -> Model:
    from jenkins_admin.render import complete
    from jenkins_admin.schema import Model as Schema
    from jenkins_admin.schema import Parameter

    whole = complete(model, settings.defaults)
    commit = Parameter(
        name=COMMIT, type="string", description="full id of a commit of the main branch; empty: its newest", trim=True
    )
    return Schema(
        name=model.name,
        kind="pipeline",
        git=whole.git,
        credential=whole.credential,
        script=whole.script,
        folder=_folder(model, settings),
        display_name=None,
        description=f"Deploys {model.name}: the main branch ({branch}) alone runs here, with the deploy credentials.",
        disabled=whole.disabled,
        discard=whole.discard,
        xml=None,
        # The whole reference: `*/main` could be the branch of another remote.
        branch=branch if branch.startswith("refs/") else f"refs/heads/{branch}",
        cron=None,
        poll=None,
        parameters=[commit],
        # The newest wins by lock and milestone; an older build that waits for approval must not hold it up.
        concurrent=True,
        abort_previous=None,
        lightweight=None,
        protect=False,
    )


# ---- credentials -------------------------------------------------------------------------------------------------


def folders(settings: JenkinsYaml) -> list[str]:
    """Paths in Jenkins of the folders of deploy jobs."""
    root = settings.root.name
    return sorted({f"{root}/{_folder(model, settings)}" for model, _ in _protected(settings)})


def places(credential: Credential, settings: JenkinsYaml) -> list[str]:
    """Paths of the folders that hold a credential: the managed one, or those of deploy jobs.

    In a protected file a credential is one of deployments unless it says `deploy: false` or reads a repository: one
    that nobody thought of is not seen by branches.
    """
    protected = folders(settings)
    if protected and _is_of_deployments(credential, settings):
        return protected
    return [settings.root.name]


def _is_of_deployments(credential: Credential, settings: JenkinsYaml) -> bool:
    return credential.id not in _readers(settings) if credential.deploy is None else credential.deploy


def _readers(settings: JenkinsYaml) -> set[str | None]:
    """Ids of the credentials that read repositories."""
    library = None if settings.library is None else settings.library.credential
    return {library, settings.defaults.credential, *(model.credential for model in settings.models)}


def warnings(settings: JenkinsYaml, prunable: Iterable[Action] = ()) -> list[str]:
    """Where builds of branches see credentials of deployments."""
    found = []
    seen = [one.id for one in settings.credentials if _is_of_deployments(one, settings) and one.deploy is not False]
    protected = {model.name for model, _ in _protected(settings)}
    open_ = [model.name for model in _multibranch(settings) if model.name not in protected]
    if open_ and seen and not folders(settings):
        found.append(
            f"whoever may push a branch of {', '.join(open_)} may use {', '.join(seen)}: "
            "set protect: true (docs/security.md), or deploy: false on credentials that branches may use"
        )
    if folders(settings):
        moved = [one.id for one in settings.credentials if settings.root.name not in places(one, settings)]
        found += [
            f"credential {action.path} is still where branches see it: mlci-admin prune removes it"
            for action in prunable
            if action.what == "credential" and action.path in {f"{settings.root.name}/{id_}" for id_ in moved}
        ]
    return found


def _multibranch(settings: JenkinsYaml) -> Iterator[Model]:
    from jenkins_admin.render import complete

    for model in settings.models:
        if (complete(model, settings.defaults).kind or "multibranch") == "multibranch":
            yield model


# ---- rules of the file -------------------------------------------------------------------------------------------


def rules(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    """What contradicts `protect:` in plain data, as `config` asks for it."""
    models = _dicts(data, "models")
    shared = data.get("defaults")
    defaults: dict[str, Any] = shared if isinstance(shared, dict) else {}
    any_protected = False
    deploy_folders = set()
    jobs = set()
    for index, item in models:
        kind = item.get("kind", defaults.get("kind", "multibranch"))
        given = item.get("protect")
        if kind == "pipeline" and given not in (None, False):
            what = "a pipeline model has one branch: there is nothing to protect it from"
            yield ("models", index, "protect"), what, f"folder: {FOLDER} lets it see the deploy credentials"
        effective = _given(item, defaults, data)
        if kind == "multibranch" and effective not in (None, False):
            any_protected = True
            folder = item.get("folder", defaults.get("folder"))
            place = f"{folder}/{FOLDER}" if isinstance(folder, str) else FOLDER
            deploy_folders.add(place)
            jobs.add(f"{place}/{item.get('name')}".lower())
    yield from _in_deploy_folders(models, defaults, deploy_folders, jobs)
    yield from _credential_rules(data, defaults, any_protected)


def _given(item: dict[str, Any], defaults: dict[str, Any], data: dict[str, Any]) -> Any:
    for place in (item, defaults):
        if place.get("protect") is not None:
            return place["protect"]
    return data.get("protect")


def _in_deploy_folders(
    models: list[tuple[int, dict[str, Any]]], defaults: dict[str, Any], deploy_folders: set[str], jobs: set[str]
) -> Iterator[tuple[KeyPath, str, str]]:
    for index, item in models:
        folder = item.get("folder", defaults.get("folder"))
        path = f"{folder}/{item.get('name')}" if isinstance(folder, str) else str(item.get("name"))
        inside = any(f"{folder}/".startswith(f"{place}/") for place in deploy_folders)
        kind = item.get("kind", defaults.get("kind", "multibranch"))
        if path in deploy_folders:
            yield ("models", index, "name"), f"{path!r} is the folder of the jobs that deploy", "rename it"
        elif path.lower() in jobs:
            yield ("models", index, "name"), f"{path!r} is the job that deploys the protected model", "rename it"
        elif inside and kind == "multibranch":
            what = f"its branches would see the credentials of {folder!r}"
            yield ("models", index, "folder"), what, "choose another folder"


def _credential_rules(
    data: dict[str, Any], defaults: dict[str, Any], any_protected: bool
) -> Iterator[tuple[KeyPath, str, str]]:
    library = data.get("library")
    readers = {
        defaults.get("credential"),
        library.get("credential") if isinstance(library, dict) else None,
        *(item.get("credential") for _, item in _dicts(data, "models")),
    }
    for index, item in _dicts(data, "credentials"):
        if item.get("deploy") is not True:
            continue
        if not any_protected:
            what = "deploy: true needs a protected model: without one every branch sees this credential"
            yield ("credentials", index, "deploy"), what, "add protect: true"
        elif item.get("id") in readers:
            what = f"{item['id']!r} reads a repository: the jobs of branches need it"
            yield ("credentials", index, "deploy"), what, "use a credential of its own for deployments"


def _dicts(data: dict[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    found = data.get(key)
    return [(i, item) for i, item in enumerate(found) if isinstance(item, dict)] if isinstance(found, list) else []
