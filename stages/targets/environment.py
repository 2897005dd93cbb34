"""A configured environment with all that belongs to it: its store, its target, its folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.config.schema import TARGET_KEYS, is_image
from stages.config.schema import Target as Settings
from stages.errors import ArtefactError, ConfigError, InfraError, UsageError
from stages.model.policy import Policy
from stages.project import Project
from stages.records.jsonfile import read_json
from stages.store import Alias, Store, at
from stages.store.base import override_of
from stages.store.version import CODE
from stages.targets import services
from stages.targets.base import Target, Version
from stages.targets.process import Place, ProcessTarget, golden_of

if TYPE_CHECKING:
    from stages.targets.containers import Setting
    from stages.targets.trial import Source


@dataclass(frozen=True)
class Environment:
    """One environment of a project."""

    project: Project
    name: str
    settings: Settings
    store: Store

    @classmethod
    def of(cls, project: Project, env: str | None = None) -> Environment:
        """The environment called `env`, else the first that is configured.

        Raises:
            UsageError: CFG_USAGE: there is no such environment.
        """
        configured = project.config.deploy
        if not configured:
            raise UsageError(
                "CFG_USAGE", "no environment is configured", "add deploy: {local: {target: process, port: 8082}}"
            )
        name = next(iter(configured)) if env is None else env
        if name not in configured:
            known = ", ".join(configured)
            raise UsageError("CFG_USAGE", f"--env {name}: there is no such environment", f"environments: {known}")
        return cls(project, name, configured[name], store_of(project))

    @property
    def model(self) -> str:
        """The name under which the store keeps the project's models."""
        return self.project.config.name

    @property
    def folder(self) -> Path:
        """`.mlci/deploy/<env>`."""
        return self.project.folder("deploy") / self.name

    def alias(self) -> Alias | None:
        """What the store says serves here."""
        return self.store.alias(self.model, self.name)

    def target(self, whole: bool = True) -> Target:
        """What can be done here. Not `whole`: what ends a service can be done, which needs no secrets.

        Raises:
            ConfigError: CFG_ENV_UNSET: a variable of this environment is not set here; CFG_VALUE.
            InfraError: DEP_TARGET: this version cannot carry the target out; DEP_DOCKER.
        """
        if whole:
            self.project.loaded.whole(self.name)
        settings = self.settings
        if settings.target == "process" and settings.port is not None:
            return self._process(settings.port)
        if settings.target == "container" and settings.port is not None:
            return self._container(settings.port)
        if settings.target == "service":
            return self._service()
        if settings.target == "package":
            from stages.targets.package import PackageTarget

            return PackageTarget(self.folder)
        if settings.target == "app":
            from stages.targets.app import AppTarget

            return AppTarget(self.folder, self.project.config.data.read.model_dump())
        raise InfraError(
            "DEP_TARGET", f"target {settings.target} is not available in this version", "use target: process"
        )

    @property
    def _identity(self) -> str:
        return services.identity(self.store.known_as(), self.model, self.name)

    def _container(self, port: int) -> Target:
        from stages.targets.container import ContainerTarget, Published
        from stages.targets.gateway import DEFAULT_IMAGE

        settings = self.settings
        image = DEFAULT_IMAGE if settings.gateway is True else settings.gateway or None
        published = Published(settings.host, port, image)
        return ContainerTarget(self._setting(settings.api_key), published, self._source())

    def _service(self) -> Target:
        from stages.targets.service import Rollout, ServiceTarget

        settings = self.settings
        rollout = Rollout(settings.replicas, settings.port if settings.publish else None)
        return ServiceTarget(self._setting(), rollout, self._source(), settings.api_key)

    def _setting(self, api_key: str | None = None) -> Setting:
        from stages.targets.containers import Setting, variables

        resources = self.settings.resources
        return Setting(self.model, self.name, self._identity, resources, variables(api_key), self._deployed())

    def _deployed(self) -> dict[str, Any]:
        """The keys that decide how a model is served, without secrets."""
        told = set(TARGET_KEYS[self.settings.target]) - {"watch_seconds", "registry", "api_key"}
        return {key: value for key, value in self.settings.model_dump(mode="json").items() if key in told}

    def _source(self) -> Source:
        """What images are made from and where they go."""
        from stages.targets.trial import Source

        settings, registry = self.settings, self.settings.registry
        if settings.image is not None and not is_image(settings.image) and "${" not in settings.image:
            raise ConfigError(
                "CFG_VALUE",
                f"deploy.{self.name}.image: {settings.image!r} is no name of an image",
                "look for a variable that is empty",
            )
        credentials = None if registry is None else {"username": registry.user, "password": registry.password}
        return Source(settings.image or self.model, settings.base, credentials, self.store)

    def _process(self, port: int) -> Target:
        place = Place(
            env=self.name,
            identity=self._identity,
            folder=self.folder,
            alias=self.store.alias_file(self.model, self.name),
            host=self.settings.host,
            port=port,
            api_key=self.settings.api_key,
            keep=self.settings.keep,
            policy=Policy.of(self.project.config),
        )
        return ProcessTarget(place)

    def version(self, digest: str) -> Version:
        """A version of the store that the promotion log names, its files checked.

        Raises:
            ArtefactError: STO_DIGEST: damaged, or gone; MOD_PICKLE, MOD_UNTRUSTED: ml.yaml does not allow its file.
        """
        try:
            folder = self.store.get(self.model, digest)
        except UsageError as error:
            todo = "deploy the model again, or restore the store from a backup"
            raise ArtefactError("STO_DIGEST", f"{error.what}, or only a part of it", todo) from error
        Policy.of(self.project.config).check(read_json(folder / "signature.json"))
        code = folder / CODE
        own = code if code.is_dir() else None
        return Version(self.model, folder.name, folder, own, golden_of(folder), self.override(folder.name))

    def override(self, digest: str) -> dict[str, Any] | None:
        """Why a version serves although the gate did not approve it, wherever that was said: `reason by when env`."""
        alias = self.alias()
        moves = self.store.promotions(self.model, strict=False)
        found = override_of([*moves, *([] if alias is None else [alias.move])], digest)
        if found is None:
            return None
        return {"reason": found.override, "by": found.by, "when": found.when, "env": found.env}


def store_of(project: Project) -> Store:
    """The store that the configuration names."""
    return at(project.config.store, project.root)
