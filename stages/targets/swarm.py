"""What Docker Swarm has to be told, and what it says: services, tasks, networks and secrets of one environment."""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages.config.schema import Resources
from stages.errors import InfraError
from stages.images import dockerfile, labels, registry
from stages.images.engine import engine_errors, one_line
from stages.images.probe import PORT
from stages.images.registry import Credentials
from stages.targets import containers
from stages.targets.containers import Setting

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.services import Service

SERVICE, NETWORK, SECRET = "service", "network", "secret"

#: Container label with the id of the image: a tag may be built again, and Swarm compares names alone.
_IMAGE = "mlci.image"
_KEY_FILE = "mlci-api-key"
#: Label of a secret by which a changed key is noticed.
_FINGERPRINT = "mlci.fingerprint"
_SECOND = 1_000_000_000
#: How long a new task is looked at before the next one is replaced, in s.
_MONITOR = 4
#: A new model whose tasks failed so often is not going to get healthy.
_FAILURES = 3


def nodes(client: DockerClient) -> int:
    """How many nodes the swarm has. mlci never makes a swarm.

    Raises:
        InfraError: DEP_SWARM: the engine is no manager of a swarm.
    """
    with engine_errors("asking about the swarm"):
        state = client.info().get("Swarm") or {}
    if state.get("LocalNodeState") != "active":
        raise InfraError(
            "DEP_SWARM",
            "this engine is in no swarm",
            "make one (docker swarm init), name a manager with DOCKER_HOST, or use target: container",
        )
    if not state.get("ControlAvailable"):
        raise InfraError("DEP_SWARM", "this engine is a worker of its swarm", "name a manager with DOCKER_HOST")
    return int(state.get("Nodes") or 1)


def spec(
    setting: Setting,
    *,
    version: str,
    image: str,
    image_id: str,
    replicas: int,
    port: int | None,
    network: str,
    secret: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """A service as the engine's API takes it: confined like a container of ours, started before the old one ends."""
    resources = setting.resources or Resources()
    limits: dict[str, int] = {"Pids": 512}
    if resources.cpus is not None:
        limits["NanoCPUs"] = round(resources.cpus * _SECOND)
    if resources.memory is not None:
        limits["MemoryBytes"] = _bytes(resources.memory)
    environment = {**setting.environment, **({"MLCI_API_KEY_FILE": f"/run/secrets/{_KEY_FILE}"} if secret else {})}
    container: dict[str, Any] = {
        "Image": image,
        "Args": ["--version", version],
        "Env": [f"{name}={value}" for name, value in sorted(environment.items())],
        "Labels": setting.labels(SERVICE, **{labels.VERSION: version, _IMAGE: image_id}),
        "ReadOnly": True,
        "CapabilityDrop": ["ALL"],
        "Mounts": [{"Type": "tmpfs", "Target": "/tmp", "TmpfsOptions": {"SizeBytes": 64 * 2**20}}],  # noqa: S108
        "StopGracePeriod": containers.END_SECONDS * _SECOND,
        "Healthcheck": {
            "Test": ["CMD", "python3", "-IS", dockerfile.PROBE, "health"],
            "Interval": 2 * _SECOND,
            "Timeout": 5 * _SECOND,
            "StartPeriod": 120 * _SECOND,
            "Retries": 3,
        },
        "Secrets": [secret] if secret else [],
    }
    change = {"Parallelism": 1, "Order": "start-first", "Monitor": _MONITOR * _SECOND, "MaxFailureRatio": 0}
    return {
        "Name": setting.prefix,
        "Labels": setting.labels(SERVICE, **setting.of_model(version)),
        "TaskTemplate": {
            "ContainerSpec": container,
            "Resources": {"Limits": limits},
            "RestartPolicy": {"Condition": "any", "Delay": 1 * _SECOND},
            "Networks": [{"Target": network}],
        },
        "Mode": {"Replicated": {"Replicas": replicas}},
        "UpdateConfig": {**change, "FailureAction": "rollback"},
        "RollbackConfig": {**change, "FailureAction": "pause"},
        "EndpointSpec": _endpoint(port),
    }


def _endpoint(port: int | None) -> dict[str, Any]:
    """Without a published port the name stands for the tasks' own addresses: a proxy balances, IPVS is not needed."""
    if port is None:
        return {"Mode": "dnsrr"}
    published = {"Protocol": "tcp", "TargetPort": PORT, "PublishedPort": port, "PublishMode": "ingress"}
    return {"Mode": "vip", "Ports": [published]}


def _bytes(text: str) -> int:
    unit = {"b": 1, "k": 2**10, "m": 2**20, "g": 2**30}.get(text[-1].lower())
    return int(text) if unit is None else int(text[:-1]) * unit


# ---- doing ---------------------------------------------------------------------------------------------------------


def create(client: DockerClient, wanted: Mapping[str, Any], credentials: Credentials) -> None:
    """Create a service. Raises: InfraError: DEP_DOCKER, DEP_PORT_IN_USE."""
    with engine_errors(f"creating the service {wanted['Name']}"):
        _post(client, "/services/create", wanted, credentials)


def update(client: DockerClient, service: Service, wanted: Mapping[str, Any], credentials: Credentials) -> None:
    """Bring a service to another specification. Raises: InfraError: DEP_DOCKER."""
    with engine_errors(f"updating the service {service.name}"):
        service.reload()
        version = service.attrs["Version"]["Index"]
        _post(client, f"/services/{service.id}/update?version={version}", wanted, credentials)


def _post(client: DockerClient, path: str, wanted: Mapping[str, Any], credentials: Credentials) -> None:
    """docker-py builds specifications from parts and leaves some out; the API takes the whole.

    The credentials travel with the request, so that every node can pull the image.
    """
    from docker import auth

    api: Any = client.api
    image = wanted["TaskTemplate"]["ContainerSpec"]["Image"]
    host = registry.host_of(image)
    sent = (
        auth.encode_header(dict(credentials)) if credentials else auth.get_config_header(api, host or auth.INDEX_NAME)
    )
    headers = {"X-Registry-Auth": sent} if sent and host else {}
    answer = api._post_json(api._url(path), data=dict(wanted), headers=headers)
    api._raise_for_status(answer)


def remove(client: DockerClient, setting: Setting) -> None:
    """Remove an environment's service, its secrets, and its network once the tasks are gone."""
    service = found(client, setting)
    if service is not None:
        with engine_errors("removing the service"):
            service.remove()  # type: ignore[no-untyped-call]
        # Swarm leaves ended tasks for some seconds; until they are gone the network is in use.
        containers.until(containers.END_SECONDS + 20, lambda: not _task_containers(client, service, running=True), 0.2)
        for container in _task_containers(client, service):
            with contextlib.suppress(InfraError):  # Swarm is removing it at this very moment
                containers.remove([container])
        containers.until(20, lambda: not _task_containers(client, service), 0.2)
    forget_secrets(client, setting, None)
    with engine_errors("removing the network"):
        for network_found in client.networks.list(filters={"label": f"{labels.IDENTITY}={setting.identity}"}):
            containers.until(20, lambda found=network_found: _removed(found), 0.3)  # type: ignore[misc]


def _removed(network: Any) -> bool:
    from docker.errors import APIError, NotFound

    try:
        network.remove()
    except NotFound:
        return True
    except APIError:
        return False  # its last task is still leaving it
    return True


def network(client: DockerClient, setting: Setting) -> str:
    """Id of the environment's overlay network; others, such as one's own proxy, may join it."""
    with engine_errors("making the network"):
        known = client.networks.list(filters={"label": f"{labels.IDENTITY}={setting.identity}", "driver": "overlay"})
        if known:
            return str(known[0].id)
        made = client.networks.create(setting.prefix, driver="overlay", attachable=True, labels=setting.labels(NETWORK))
        return str(made.id)


def keep_secret(client: DockerClient, setting: Setting, value: str) -> dict[str, Any]:
    """Keep the API key where tasks read it from a file, and no inspection shows it. Returns the reference to it."""
    name = f"{setting.prefix}-key-{secrets.token_hex(4)}"
    with engine_errors("keeping the API key"):
        told = setting.labels(SECRET, **{_FINGERPRINT: _fingerprint(value, secrets.token_hex(8))})
        made = client.secrets.create(name=name, data=value.encode(), labels=told)
    file = {"Name": _KEY_FILE, "UID": "0", "GID": "0", "Mode": 0o440}
    return {"SecretID": made.id, "SecretName": name, "File": file}


def keeps(client: DockerClient, used: Sequence[str], value: str | None) -> bool:
    """Whether a service that uses the secrets with these ids asks for this API key, for none if it is None."""
    if value is None or not used:
        return value is None and not used
    with engine_errors("looking at the API key"):
        found = [secret for secret in client.secrets.list() if secret.id in used]
    marks = [(secret.attrs["Spec"].get("Labels") or {}).get(_FINGERPRINT) for secret in found]
    # One without a mark is of an mlci that left none: it is taken for the same.
    return any(mark is None or _fingerprint(value, mark.partition(":")[0]) == mark for mark in marks)


def _fingerprint(value: str, salt: str) -> str:
    """Slow to guess from, since whoever sees a label need not see the secret."""
    return f"{salt}:{hashlib.scrypt(value.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=16).hex()}"


def forget_secrets(client: DockerClient, setting: Setting, service: Service | None) -> None:
    """Remove the environment's secrets that neither the service's specification nor its previous one names."""
    used = set()
    if service is not None:
        for side in ("Spec", "PreviousSpec"):
            container = (service.attrs.get(side) or {}).get("TaskTemplate", {}).get("ContainerSpec", {})
            used |= {secret["SecretID"] for secret in container.get("Secrets") or []}
    with engine_errors("removing old secrets"):
        for secret in client.secrets.list(filters={"label": f"{labels.IDENTITY}={setting.identity}"}):
            if secret.id not in used:
                secret.remove()


# ---- looking -------------------------------------------------------------------------------------------------------


def found(client: DockerClient, setting: Setting) -> Service | None:
    """The environment's service. Nothing else is ever touched."""
    with engine_errors("looking for the service"):
        services = client.services.list(filters={"label": f"{labels.IDENTITY}={setting.identity}"})
    return services[0] if services else None


def version_of(service: Service) -> str:
    """The model that a service is specified to serve."""
    return version_of_spec(service.attrs["Spec"])


def version_of_spec(wanted: Mapping[str, Any]) -> str:
    """The model of a specification."""
    return str((wanted.get("Labels") or {}).get(labels.VERSION, ""))


def update_started(service: Service) -> str | None:
    """When its last update began."""
    started = (service.attrs.get("UpdateStatus") or {}).get("StartedAt")
    return None if started is None else str(started)


def _tasks(service: Service, version: str) -> list[Mapping[str, Any]]:
    with engine_errors("looking at tasks"):
        tasks: list[Mapping[str, Any]] = service.tasks()  # type: ignore[no-untyped-call]
    return [t for t in tasks if ((t["Spec"]["ContainerSpec"].get("Labels") or {}).get(labels.VERSION)) == version]


def running(service: Service, version: str) -> list[Mapping[str, Any]]:
    """Healthy tasks of a model that are wanted."""
    return [
        task
        for task in _tasks(service, version)
        if task["Status"]["State"] == "running" and task["DesiredState"] == "running"
    ]


def failed(service: Service, version: str) -> int:
    """How many tasks of a model failed."""
    return sum(task["Status"]["State"] in ("failed", "rejected", "orphaned") for task in _tasks(service, version))


def keeps_failing(service: Service, version: str) -> bool:
    """Whether the tasks of a new service fail again and again; an updated one is put back by Swarm."""
    return not service.attrs.get("PreviousSpec") and failed(service, version) >= _FAILURES


def why(service: Service, version: str) -> str:
    """What the last task that is not well says, with the end of its log."""
    unwell = [t for t in _tasks(service, version) if t["Status"]["State"] != "running" and t["Status"].get("Err")]
    if not unwell:
        return "no task says why"
    last = max(unwell, key=lambda task: str(task["Status"].get("Timestamp", "")))
    said = f"task {last['ID'][:12]}: {one_line(last['Status']['Err'])}"
    container = last["Status"].get("ContainerStatus", {}).get("ContainerID")
    if container and service.client is not None:
        try:
            with engine_errors("reading a task's log"):
                said += f"; the end of its log: {containers.last_lines(service.client.containers.get(container))}"
        except InfraError:
            return said  # it is gone, or on another node
    return said


def _task_containers(client: DockerClient, service: Service, running: bool = False) -> list[Any]:
    with engine_errors("looking for tasks"):
        return client.containers.list(
            all=not running, filters={"label": f"com.docker.swarm.service.id={service.id}"}, ignore_removed=True
        )
