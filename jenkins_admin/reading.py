"""Read from Jenkins what a plan needs to know, and no more.

One listing a folder, one config.xml an item of the file that exists, one listing of the credentials. A job that does
not exist costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from jenkins_admin import protect
from jenkins_admin.connection import JenkinsError
from jenkins_admin.plan import Live, Stored, own_marker
from jenkins_admin.render import Item
from jenkins_admin.schema import JenkinsYaml
from jenkins_admin.server import Found, Server

InT = TypeVar("InT")
OutT = TypeVar("OutT")

_FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"


def each(
    work: Callable[[InT], OutT], inputs: Iterable[InT], workers: int, tick: Callable[[], None] | None = None
) -> list[OutT]:
    """`work` on every input, at most `workers` at once, results in order; the first error ends it."""
    inputs = list(inputs)
    if not inputs:
        return []
    with ThreadPoolExecutor(min(workers, len(inputs)), thread_name_prefix="mlci-admin") as pool:
        futures = [pool.submit(work, one) for one in inputs]
        try:
            results = []
            for future in futures:
                results.append(future.result())
                if tick is not None:
                    tick()
        except BaseException:
            for future in futures:
                future.cancel()
            raise
        return results


def read(
    server: Server,
    settings: JenkinsYaml,
    items: list[Item],
    *,
    configs: bool = True,
    tick: Callable[[], None] | None = None,
) -> Live:
    """What Jenkins has of `items`, of the credentials, and of what this file once made.

    `configs=False` reads the listings and the managed folder alone, which is what `prune` needs.

    Raises:
        JenkinsError: JEN_…
    """
    root, workers = settings.root.name, settings.server.workers
    children = _listings(server, settings, {item.path for item in items if item.kind == "folder"})
    if children[root] is None:
        server.check_there()
        return Live(children=children, credentials={}, missing_parents=_missing_parents(server, root))
    known = {f"{folder}/{found.name}" for folder, listed in children.items() for found in listed or []}
    wanted = [root, *(item.path for item in items if configs and item.path in known)]
    texts = each(lambda path: _config(server, path, required=path == root), wanted, workers, tick)
    stored = _stored(server, settings, root, configs)
    deploying = [folder for folder in protect.folders(settings) if folder in known]
    return Live(
        children=children,
        configs={path: text for path, text in zip(wanted, texts, strict=True) if isinstance(text, str)},
        unreadable={
            path: error.what for path, error in zip(wanted, texts, strict=True) if isinstance(error, JenkinsError)
        },
        credentials=stored.listed,
        credential_configs=stored.configs,
        stores={folder: _stored(server, settings, folder, configs) for folder in deploying},
    )


def _config(server: Server, path: str, required: bool) -> str | JenkinsError | None:
    """An item's config.xml, or why this one cannot be read; what stands in the way of all of them is raised."""
    try:
        return server.config(path)
    except JenkinsError as error:
        if required or error.code not in ("JEN_PERMISSION", "JEN_SERVER", "JEN_REFUSED"):
            raise
        return error


def _stored(server: Server, settings: JenkinsYaml, folder: str, configs: bool) -> Stored:
    """The credentials of a folder, and the documents of those that the file puts there."""
    listed = server.credentials(folder)
    stored = None if listed is None else {one["id"]: one.get("description") or "" for one in listed}
    mine = [one.id for one in settings.credentials if folder in protect.places(one, settings)]
    ids = [id_ for id_ in mine if stored and id_ in stored] if configs else []
    documents = each(lambda id_: server.credential(folder, id_), ids, settings.server.workers)
    return Stored(stored, {id_: text for id_, text in zip(ids, documents, strict=True) if text is not None})


def _listings(server: Server, settings: JenkinsYaml, wanted: set[str]) -> dict[str, list[Found] | None]:
    """Items of the managed folder and of every folder in it that the file names or once made."""
    children: dict[str, list[Found] | None] = {}
    level = [settings.root.name]
    while level:
        found = dict(zip(level, each(server.children, level, settings.server.workers), strict=True))
        children |= found
        level = [
            f"{folder}/{child.name}"
            for folder, listed in found.items()
            for child in listed or []
            if child.cls == _FOLDER
            and (f"{folder}/{child.name}" in wanted or own_marker(child, folder, settings) is not None)
        ]
    return children


def _missing_parents(server: Server, root: str) -> tuple[str, ...]:
    parts = root.split("/")[:-1]
    paths = ["/".join(parts[:end]) for end in range(1, len(parts) + 1)]
    missing: list[str] = []
    for path in paths:
        found = None if missing else server.job(path, "_class,jobs[name]{0,1}")
        if found is None:
            missing.append(path)
        elif "jobs" not in found:
            what = f"{path} in Jenkins is no folder: {root} cannot be made in it"
            raise JenkinsError("JEN_CONFLICT", what, "choose another folder, or rename what is there")
    return tuple(missing)
