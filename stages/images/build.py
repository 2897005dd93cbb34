"""Building the image of one model, doing only what was not done before."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from stages.errors import InfraError
from stages.images import context, dockerfile, labels, registry
from stages.images.engine import engine_errors, one_line
from stages.images.registry import Credentials
from stages.images.requirements import Requirements, by_onnx, of_version
from stages.images.runtime import runtime_files
from stages.images.settings import pip_settings
from stages.model.policy import file_of
from stages.records.digest import sha256_json, sha256_tree
from stages.records.jsonfile import read_json

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.images import Image as Found

log = logging.getLogger("mlci")

#: Repositories, on the engine alone, of what models share.
DEPENDENCIES, RUNTIME = "mlci-dependencies", "mlci-runtime"

#: What a service reads of a version; the ONNX model makes the pickled ones superfluous.
_DESCRIBING = ("signature.json", "golden.json", "metrics.json", "schema.json", "MODEL_CARD.md")


class ImageDigests(Protocol):
    """Where the digests of pushed images are kept, by somebody other than the registry: a store is one."""

    def record_image(self, reference: str, digest: str) -> None:
        """Keep the digest under which the registry received `reference` (`repository:tag`)."""

    def image_digest(self, reference: str) -> str | None:
        """The kept digest; None where there is none."""


@dataclass(frozen=True)
class Order:
    """What to build.

    A model (`name`, `digest`, its `folder`, its own modules in `code`), on which `base`, as what `repository`.
    `digests`: what a registry may be asked for; without it every layer is built here.
    """

    name: str
    digest: str
    folder: Path
    code: Path | None
    repository: str
    base: str
    credentials: Credentials = None
    digests: ImageDigests | None = None

    @property
    def tag(self) -> str:
        """The tag of the model's image."""
        return self.digest[:12]

    @property
    def reference(self) -> str:
        """The image's whole name."""
        return f"{self.repository}:{self.tag}"


@dataclass(frozen=True)
class Image:
    """A built image. `size`: bytes in all; `added`: bytes on top of the base. `pushed`: its digest in the registry."""

    reference: str
    id: str
    base: str
    base_digest: str
    size: int
    added: int
    pushed: str | None = None

    def plain(self) -> dict[str, Any]:
        """For records."""
        return {
            "reference": self.reference,
            "id": self.id,
            "base": self.base,
            "base_digest": self.base_digest,
            "size_bytes": self.size,
            "added_bytes": self.added,
            "registry_digest": self.pushed,
        }


def build(client: DockerClient, order: Order) -> Image:
    """Bring the image of a model to the engine: kept from before, else built layer by layer.

    It is pushed where its name begins with a registry. An image of this model on another runtime (an older mlci, say)
    is used only if building fails.

    Raises:
        InfraError: DEP_BASE, DEP_BUILD, DEP_REGISTRY, DEP_DOCKER.
    """
    kept = _found(client, order.reference)
    try:
        built = _built(client, order, kept)
    except InfraError as error:
        if kept is None or kept.labels.get(labels.VERSION) != order.digest or error.code == "DEP_DOCKER":
            raise
        log.warning("%s; the image of this model that was kept is used instead", error.what)
        return _described(client, order, kept, None)
    pushed = None
    if registry.host_of(order.repository) is not None:
        pushed = registry.push(client, order.repository, order.tag, order.credentials)
        if kept is None and order.digests is not None:
            _share_runtime(client, order, built.labels[labels.RUNTIME], order.digests)
    return _described(client, order, built, pushed)


def _built(client: DockerClient, order: Order, kept: Found | None) -> Found:
    base = base_image(client, order.base, order.credentials)
    requirements = of_version(order.folder, order.code)
    needed = _dependencies_tag(base, requirements)
    tag = sha256_json([needed, sha256_tree(runtime_files()), dockerfile.runtime("")])[:12]
    if kept is not None and kept.labels.get(labels.VERSION) == order.digest and kept.labels.get(labels.RUNTIME) == tag:
        log.info("image %s is there already", order.reference)
        return kept
    if not _has(client, RUNTIME, tag) and not _pulled_runtime(client, order, tag):
        if not _has(client, DEPENDENCIES, needed):
            _build_dependencies(client, order.base, requirements, needed)
        files = {f"{context.ROOT}{dockerfile.RUNTIME}/{name}": content for name, content in runtime_files().items()}
        text = dockerfile.runtime(f"{DEPENDENCIES}:{needed}")
        run(client, text, files, f"{RUNTIME}:{tag}")
    told = labels.of_model(order.name, order.digest, order.folder, order.base, digest_of(base))
    text = dockerfile.model(f"{RUNTIME}:{tag}", {**told, labels.RUNTIME: tag}, order.digest)
    run(client, text, _model_files(order), order.reference)
    with engine_errors(f"looking at {order.reference}"):
        return client.images.get(order.reference)


def base_image(client: DockerClient, base: str, credentials: Credentials = None) -> Found:
    """The base image, pulled when the engine does not have it.

    Raises:
        InfraError: DEP_BASE.
    """
    found = _found(client, base)
    if found is None:
        log.info("pulling the base image %s", base)
        repository, tag = registry.split(base)
        try:
            there = registry.pull(client, repository, tag, credentials if registry.host_of(repository) else None)
            why = "the registry does not have it"
        except InfraError as error:
            if error.code == "DEP_DOCKER":
                raise
            there, why = False, error.what
        found = _found(client, base) if there else None
        if found is None:
            raise InfraError(
                "DEP_BASE",
                f"the base image {base} is not on the engine and could not be pulled: {why}",
                "set base: to an image with Python 3.11 to 3.13 that the engine has or can pull",
            )
    return found


def digest_of(image: Found) -> str:
    """The digest under which a registry knows an image; its id where it never was in one."""
    known = image.attrs.get("RepoDigests") or []
    return str(known[0]).rpartition("@")[2] if known else str(image.id)


def _dependencies_tag(base: Found, requirements: Requirements) -> str:
    recipe = dockerfile.dependencies("", (), False, bool(requirements.own))
    return sha256_json([base.id, requirements.digest, recipe])[:12]


def _build_dependencies(client: DockerClient, base: str, requirements: Requirements, tag: str) -> None:
    log.info("installing the packages of the service into an image; it is kept for every model that needs the same")
    settings = pip_settings()
    files: dict[str, Path | bytes] = {"install/locked.txt": requirements.locked.encode()}
    if requirements.own:
        files["install/own.txt"] = "".join(f"{line}\n" for line in requirements.own).encode()
        files["install/constraints.txt"] = requirements.constraints.encode()
    if settings.certificates is not None:
        files["install/certificates.pem"] = settings.certificates
    certificates = settings.certificates is not None
    text = dockerfile.dependencies(base, settings.arguments, certificates, bool(requirements.own))
    run(client, text, files, f"{DEPENDENCIES}:{tag}", settings.arguments, logging.INFO)
    with engine_errors("removing the stage that installed"):
        client.images.prune(filters={"dangling": True, "label": f"{dockerfile.BUILD_STAGE}=install"})


def _share_runtime(client: DockerClient, order: Order, tag: str, digests: ImageDigests) -> None:
    """Push the runtime for other engines, and keep its digest: what they find under the tag may be somebody else's."""
    shared = f"runtime-{tag}"
    client.images.get(f"{RUNTIME}:{tag}").tag(order.repository, shared)
    pushed = registry.push(client, order.repository, shared, order.credentials)
    digests.record_image(f"{order.repository}:{shared}", pushed)


def _pulled_runtime(client: DockerClient, order: Order, tag: str) -> bool:
    """Whether the registry had the very runtime that a deployment pushed; never another one of the same tag."""
    if registry.host_of(order.repository) is None or order.digests is None:
        return False
    shared = f"runtime-{tag}"
    digest = order.digests.image_digest(f"{order.repository}:{shared}")
    if digest is None or not registry.pull(client, order.repository, digest, order.credentials):
        return False
    with engine_errors(f"tagging {shared}"):
        client.images.get(f"{order.repository}@{digest}").tag(RUNTIME, tag)
    return True


def _model_files(order: Order) -> dict[str, Path | bytes]:
    folder = order.folder
    onnx = by_onnx(folder)
    models = ["model.onnx"] if onnx else [file_of(read_json(folder / "signature.json"))]
    found: dict[str, Path | bytes] = {
        f"{context.ROOT}{dockerfile.MODEL}/{name}": folder / name
        for name in (*models, *_DESCRIBING)
        if (folder / name).is_file()
    }
    if order.code is not None and not onnx:
        for path in sorted(order.code.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                found[f"{context.ROOT}{dockerfile.MODEL}/code/{path.relative_to(order.code).as_posix()}"] = path
    return found


def run(
    client: DockerClient,
    text: str,
    files: Mapping[str, Path | bytes],
    tag: str,
    arguments: Mapping[str, str] | None = None,
    level: int = logging.DEBUG,
) -> None:
    """Build one Dockerfile with `files` as its context, streaming the builder's log at this level.

    Raises:
        InfraError: DEP_BUILD with the end of the log; DEP_DOCKER: the engine went away.
    """
    lines: list[str] = []
    made = False
    with engine_errors(f"building {tag}"), context.archive({**files, "Dockerfile": text.encode()}) as packed:
        stream: Iterable[dict[str, Any]] = client.api.build(
            fileobj=packed,
            custom_context=True,
            tag=tag,
            rm=True,
            forcerm=True,
            decode=True,
            buildargs=dict(arguments or {}),
        )
        for entry in stream:
            for line in str(entry.get("stream", "")).splitlines():
                if line.strip():
                    lines.append(line.strip())
                    log.log(level, "build: %s", line.rstrip())
            if "error" in entry:
                end = " | ".join([*lines[-5:], one_line(entry["error"])])
                raise InfraError(
                    "DEP_BUILD",
                    f"building {tag} failed; the end of its log: {one_line(end, 900)}",
                    "correct that, then try again; what served before still does",
                )
            made = made or "ID" in entry.get("aux", {})
        if not made:
            raise OSError("the stream ended before the image was made")


def _has(client: DockerClient, repository: str, tag: str) -> bool:
    return _found(client, f"{repository}:{tag}") is not None


def _found(client: DockerClient, name: str) -> Found | None:
    from docker.errors import ImageNotFound

    with engine_errors(f"looking for {name}"):
        try:
            return client.images.get(name)
        except ImageNotFound:
            return None


def _described(client: DockerClient, order: Order, image: Found, pushed: str | None) -> Image:
    base = _found(client, order.base)
    size = int(image.attrs["Size"])
    return Image(
        reference=order.reference,
        id=str(image.id),
        base=order.base,
        base_digest=str(image.labels.get("org.opencontainers.image.base.digest", "")),
        size=size,
        added=size - (int(base.attrs["Size"]) if base is not None else 0),
        pushed=pushed,
    )
