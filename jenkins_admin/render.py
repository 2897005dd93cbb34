"""From jenkins.yaml to the XML that Jenkins stores. Pure: no server, no clock, no environment."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from jenkins_admin import marker, xmltree
from jenkins_admin.schema import (
    Cache,
    Discard,
    Discovery,
    Filter,
    Folder,
    JenkinsYaml,
    Library,
    Model,
    Orphans,
    Parameter,
    RawElement,
    Shared,
    minutes,
)
from jenkins_admin.xmltree import element

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"
PIPELINE = "flow-definition"
LIBRARIES = "org.jenkinsci.plugins.workflow.libs.FolderLibraries"
LIBRARY = "org.jenkinsci.plugins.workflow.libs.LibraryConfiguration"
ONE_AT_A_TIME = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"

_FOLDER_PLUGIN = "com.cloudbees.hudson.plugins.folder"
_WORKFLOW = "org.jenkinsci.plugins.workflow"

ItemKind = Literal["folder", "multibranch", "pipeline"]


@dataclass(frozen=True)
class Item:
    """Something with a path in Jenkins (`ml/flight-delays`), and its configuration.

    `depth_first` order of a list of items is the order in which they can be created. `implied`: tags of properties
    that are there although the file says nothing of them; a Jenkinsfile may say otherwise. `kept`: tags of which
    Jenkins' own state holds. `adopt`: whether the file may take over what somebody else made at the path.
    """

    path: str
    kind: ItemKind
    config: ET.Element
    implied: frozenset[str] = frozenset()
    kept: frozenset[str] = frozenset()
    adopt: bool = False

    @property
    def parent(self) -> str:
        """The folder it stands in; "" for the top."""
        return self.path.rpartition("/")[0]

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    def xml(self) -> bytes:
        """The document as it is posted."""
        return xmltree.serialise(self.config)


def render(settings: JenkinsYaml) -> list[Item]:
    """Every item of the file: the managed folder first, then the folders in it, then the jobs.

    Raises:
        xmltree.XmlError: a text holds a character that Jenkins cannot store.
    """
    root = settings.root
    items = [Item(root.name, "folder", _folder(root, settings, settings.library))]
    folders = {folder.name: folder for folder in settings.folders}
    for name in sorted(_folders(settings), key=lambda name: (name.count("/"), name)):
        config = _folder(folders.get(name, Folder(name=name)), settings, None, below=True)
        items.append(Item(f"{root.name}/{name}", "folder", config))
    return [*items, *(_job(model, settings) for model in settings.models)]


def complete(model: Model, defaults: Shared) -> Model:
    """`model` with what it leaves open taken from `defaults`; a key counts as given even when it is null.

    `disabled` is None only where the file says null: Jenkins' own state holds.
    """
    given = {key: getattr(model, key) for key in model.model_fields_set}
    for key in defaults.model_fields_set - model.model_fields_set:
        given[key] = getattr(defaults, key)
    return Model.model_construct(**{**_blank(), "disabled": False, **given})


def _blank() -> dict[str, Any]:
    return {name: info.get_default() for name, info in Model.model_fields.items() if not info.is_required()}


def folder_of(model: Model, settings: JenkinsYaml) -> str:
    """The path of the folder that holds a model's job."""
    folder = model.folder if "folder" in model.model_fields_set else settings.defaults.folder
    return f"{settings.root.name}/{folder}" if folder else settings.root.name


def path_of(model: Model, settings: JenkinsYaml) -> str:
    """The path of a model's job."""
    return f"{folder_of(model, settings)}/{model.name}"


def _folders(settings: JenkinsYaml) -> Iterator[str]:
    """Every folder below the managed one that the file names or needs."""
    named = [folder.name for folder in settings.folders]
    used = [complete(model, settings.defaults).folder for model in settings.models]
    seen = set()
    for name in [*named, *(folder for folder in used if folder)]:
        parts = name.split("/")
        for end in range(1, len(parts) + 1):
            path = "/".join(parts[:end])
            if path not in seen:
                seen.add(path)
                yield path


# ---- folders and the library -------------------------------------------------------------------------------------


def _folder(folder: Folder, settings: JenkinsYaml, library: Library | None, below: bool = False) -> ET.Element:
    sign = marker.Marker(settings.signature).with_libraries([library.name] if library is not None else [])
    if below:
        sign = sign.at(folder.name)
    made = element(FOLDER, element("description", marker.signed(folder.description or "", sign)))
    if folder.display_name is not None:
        made.append(element("displayName", folder.display_name))
    properties = element("properties")
    if library is not None:
        properties.append(element(LIBRARIES, element("libraries", _library(library))))
    made.append(properties)
    return made


def _library(library: Library) -> ET.Element:
    traits = element("traits", *(_discovery(kind) for kind in library.discover))
    source = element(
        "scm",
        element("id", f"mlci-library-{library.name}"),
        element("remote", library.git),
        *_credential(library.credential),
        traits,
        class_="jenkins.plugins.git.GitSCMSource",
    )
    retriever = element("retriever", element("clone", "false"), source, class_=f"{_WORKFLOW}.libs.SCMSourceRetriever")
    made = element(
        LIBRARY,
        element("name", library.name),
        retriever,
        element("defaultVersion", library.version),
        element("implicit", _boolean(library.implicit)),
        element("allowVersionOverride", _boolean(library.allow_version_override)),
        element("includeInChangesets", _boolean(library.include_in_changesets)),
    )
    if library.cache:
        cache = library.cache if isinstance(library.cache, Cache) else Cache()
        made.append(
            element(
                "cachingConfiguration",
                element("refreshTimeMinutes", str(cache.refresh_minutes)),
                element("excludedVersionsStr", " ".join(cache.exclude)),
            )
        )
    return made


# ---- jobs --------------------------------------------------------------------------------------------------------


def _job(model: Model, settings: JenkinsYaml) -> Item:
    path = path_of(model, settings)
    model = complete(model, settings.defaults)
    sign = marker.Marker(settings.signature).at(path.removeprefix(f"{settings.root.name}/"))
    head = [element("description", marker.signed(model.description, sign))]
    if model.display_name is not None:
        head.append(element("displayName", model.display_name))
    kind: ItemKind = model.kind or "multibranch"
    config = _pipeline(model, head) if kind == "pipeline" else _multibranch(model, head)
    for raw in model.xml or []:
        _put(config, raw)
    unsaid = kind == "pipeline" and model.concurrent is None and model.abort_previous is None
    implied = frozenset({ONE_AT_A_TIME}) if unsaid else frozenset()
    kept = frozenset({"disabled"}) if model.disabled is None else frozenset()
    return Item(path, kind, config, implied, kept, bool(model.adopt))


def _multibranch(model: Model, head: list[ET.Element]) -> ET.Element:
    orphans = model.orphans or Orphans()
    trigger = f"{_FOLDER_PLUGIN}.computed.PeriodicFolderTrigger"
    triggers = element("triggers")
    if model.scan is not None:
        every = minutes(model.scan)
        interval = element("interval", str(every * 60_000))
        triggers.append(element(trigger, element("spec", _how_often(every)), interval))
    return element(
        MULTIBRANCH,
        *head,
        element("properties"),
        element(
            "orphanedItemStrategy",
            element("pruneDeadBranches", _boolean(not orphans.keep)),
            element("daysToKeep", str(orphans.days or -1)),
            element("numToKeep", str(orphans.branches or -1)),
            element("abortBuilds", "false"),
            class_=f"{_FOLDER_PLUGIN}.computed.DefaultOrphanedItemStrategy",
        ),
        triggers,
        *_disabled(model),
        element(
            "sources",
            element("data", _branch_source(model)),
            element("owner", class_=MULTIBRANCH, reference="../.."),
            class_="jenkins.branch.MultiBranchProject$BranchSourceList",
        ),
        element(
            "factory",
            element("owner", class_=MULTIBRANCH, reference="../.."),
            element("scriptPath", model.script or "Jenkinsfile"),
            class_=f"{_WORKFLOW}.multibranch.WorkflowBranchProjectFactory",
        ),
    )


def _branch_source(model: Model) -> ET.Element:
    traits = element("traits", *(_discovery(kind) for kind in _or(model.discover, ["branches"])))
    if model.filter is not None:
        traits.append(_wildcards(model.filter))
    if model.clean:
        extension = "hudson.plugins.git.extensions.impl.CleanBeforeCheckout"
        flag = element("deleteUntrackedNestedRepositories", "false")
        traits.append(
            element("jenkins.plugins.git.traits.CleanBeforeCheckoutTrait", element("extension", flag, class_=extension))
        )
    made = element(
        "jenkins.branch.BranchSource",
        element(
            "source",
            # Constant: with another id Jenkins takes every branch for a new one and builds it again.
            element("id", f"mlci-{model.name}"),
            element("remote", model.git or ""),
            *_credential(model.credential),
            traits,
            class_="jenkins.plugins.git.GitSCMSource",
        ),
    )
    if model.discard is not None:
        retention = element(
            "jenkins.branch.BuildRetentionBranchProperty", _log_rotator("buildDiscarder", model.discard)
        )
        made.append(
            element("strategy", element("properties", retention), class_="jenkins.branch.DefaultBranchPropertyStrategy")
        )
        made[-1][0].set("class", "java.util.ArrayList")
    return made


def _wildcards(filtered: Filter) -> ET.Element:
    return element(
        "jenkins.scm.impl.trait.WildcardSCMHeadFilterTrait",
        element("includes", " ".join(filtered.include)),
        element("excludes", " ".join(filtered.exclude)),
    )


def _pipeline(model: Model, head: list[ET.Element]) -> ET.Element:
    properties = element("properties")
    if model.parameters:
        definitions = element("parameterDefinitions", *(_parameter(parameter) for parameter in model.parameters))
        properties.append(element("hudson.model.ParametersDefinitionProperty", definitions))
    if not model.concurrent:
        properties.append(
            element(
                ONE_AT_A_TIME,
                element("abortPrevious", _boolean(bool(model.abort_previous))),
            )
        )
    if model.discard is not None:
        properties.append(element("jenkins.model.BuildDiscarderProperty", _log_rotator("strategy", model.discard)))
    triggers = element("triggers")
    if model.cron is not None:
        triggers.append(element("hudson.triggers.TimerTrigger", element("spec", model.cron)))
    if model.poll is not None:
        ignore = element("ignorePostCommitHooks", "false")
        triggers.append(element("hudson.triggers.SCMTrigger", element("spec", model.poll), ignore))
    if len(triggers):
        properties.append(element(f"{_WORKFLOW}.job.properties.PipelineTriggersJobProperty", triggers))
    return element(
        PIPELINE,
        *head,
        element("keepDependencies", "false"),
        properties,
        element(
            "definition",
            _git(model),
            element("scriptPath", model.script or "Jenkinsfile"),
            element("lightweight", _boolean(model.lightweight is not False)),
            class_=f"{_WORKFLOW}.cps.CpsScmFlowDefinition",
        ),
        element("triggers"),
        *_disabled(model),
    )


def _disabled(model: Model) -> list[ET.Element]:
    return [] if model.disabled is None else [element("disabled", _boolean(model.disabled))]


def _git(model: Model) -> ET.Element:
    branch = model.branch or "main"
    # release/2 alone would mean branch 2 of a remote called release.
    spec = branch if branch.startswith(("refs/", "origin/", "*", ":", "$")) else f"*/{branch}"
    return element(
        "scm",
        element("configVersion", "2"),
        element(
            "userRemoteConfigs",
            element(
                "hudson.plugins.git.UserRemoteConfig",
                element("url", model.git or ""),
                *_credential(model.credential),
            ),
        ),
        element("branches", element("hudson.plugins.git.BranchSpec", element("name", spec))),
        element("doGenerateSubmoduleConfigurations", "false"),
        element("submoduleCfg", class_="empty-list"),
        element("extensions"),
        class_="hudson.plugins.git.GitSCM",
    )


_PARAMETERS = {"string": "String", "text": "Text", "boolean": "Boolean", "choice": "Choice"}


def _parameter(parameter: Parameter) -> ET.Element:
    made = element(
        f"hudson.model.{_PARAMETERS[parameter.kind]}ParameterDefinition",
        element("name", parameter.name),
        element("description", parameter.description),
    )
    if parameter.kind == "choice":
        choices = parameter.choices or []
        # Jenkins takes the first choice as the default.
        first = [parameter.text] if parameter.default is not None else []
        ordered = [*first, *(choice for choice in choices if choice not in first)]
        made.append(element("choices", *(element("string", choice) for choice in ordered)))
    elif parameter.kind == "boolean":
        made.append(element("defaultValue", _boolean(bool(parameter.default))))
    else:
        made.append(element("defaultValue", parameter.text))
        made.append(element("trim", _boolean(parameter.trim)))
    return made


def _log_rotator(tag: str, discard: Discard) -> ET.Element:
    return element(
        tag,
        element("daysToKeep", str(discard.days or -1)),
        element("numToKeep", str(discard.builds or -1)),
        element("artifactDaysToKeep", str(discard.artifact_days or -1)),
        element("artifactNumToKeep", str(discard.artifact_builds or -1)),
        class_="hudson.tasks.LogRotator",
    )


def _credential(id_: str | None) -> list[ET.Element]:
    # An empty one makes Jenkins warn in every build that it cannot find the credential "".
    return [element("credentialsId", id_)] if id_ else []


def _discovery(kind: str) -> ET.Element:
    name = {"branches": "BranchDiscoveryTrait", "tags": "TagDiscoveryTrait"}[kind]
    return element(f"jenkins.plugins.git.traits.{name}")


def _how_often(every: int) -> str:
    """The schedule that Jenkins computes for a scan every `every` minutes: how often it looks whether one is due."""
    steps = [(5, "* * * * *"), (30, "H/5 * * * *"), (60, "H/15 * * * *"), (8 * 60, "H/30 * * * *")]
    steps += [(24 * 60, "H H/4 * * *"), (48 * 60, "H H/12 * * *")]
    return next((spec for limit, spec in steps if every <= limit), "H H * * *")


def _put(config: ET.Element, raw: RawElement) -> None:
    """Replace the elements of the raw one's tag under `at` (made if missing), or append it there."""
    at = config
    for part in [part for part in raw.at.split("/") if part]:
        found = at.find(part)
        at = found if found is not None else ET.SubElement(at, part)
    new = xmltree.parse(raw.element)
    old = at.findall(new.tag)
    place = list(at).index(old[0]) if old else len(at)
    for gone in old:
        at.remove(gone)
    at.insert(place, new)


def _boolean(value: bool) -> str:
    return "true" if value else "false"


def _or(value: list[Discovery] | None, default: list[Discovery]) -> list[Discovery]:
    return default if value is None else value
