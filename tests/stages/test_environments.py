"""Variables of environments: whoever only trains needs none of them, whoever deploys needs those of the environment."""

import gc

import pytest

DEPLOY = """
deploy:
  local: {target: package}
  production:
    target: service
    port: 8001
    image: "${REGISTRY}/houses"
    registry: {user: "${REG_USER}", password: "${REG_PASSWORD}"}
"""
UNSET = ("REGISTRY", "REG_USER", "REG_PASSWORD")


@pytest.fixture
def deployable(repository, monkeypatch):
    for name in UNSET:
        monkeypatch.delenv(name, raising=False)
    repository.change("store: store", f"store: store\n{DEPLOY}")
    return repository


def test_stages_before_a_deployment_need_no_variable_of_it(deployable, monkeypatch):
    said = deployable.run("check")
    assert said.exit_code == 0
    assert said.data["notes"] == [
        "deploy.production cannot be reached from here: not set: REGISTRY, REG_USER, REG_PASSWORD"
    ]
    said = deployable.run("check", "--env", "production")
    assert (said.exit_code, said.codes) == (2, ["CFG_ENV_UNSET"] * 3)
    assert deployable.run("check", "--env", "local").exit_code == 0
    assert "environments: local, production" in deployable.run("check", "--env", "moon").err
    for stage in ("prepare", "train", "test", "validate"):
        assert deployable.run(stage).exit_code == 0
    for name in UNSET:
        monkeypatch.setenv(name, "hunter2")
    assert deployable.run("check", "--env", "production").data["notes"] == []
    deployable.change("port: 8001", "port: 8002")
    said = {stage: deployable.run(stage) for stage in ("prepare", "train", "validate")}
    assert {stage: one.data["status"] for stage, one in said.items()} == dict.fromkeys(said, "skipped")
    for path in (deployable.folder / ".mlci").rglob("*.json"):
        assert "hunter2" not in path.read_text()


def test_commands_that_go_to_an_environment_need_its_variables(deployable):
    said = deployable.run("run", "--env", "production")
    assert (said.exit_code, said.codes) == (2, ["CFG_ENV_UNSET"] * 3)
    assert not (deployable.folder / ".mlci" / "prepare").exists()
    said = deployable.run("run")
    assert said.exit_code == 0, said.err
    for words in (["deploy"], ["rollback"], ["status"]):
        said = deployable.run(*words, "--env", "production")
        assert (said.exit_code, said.codes) == (2, ["CFG_ENV_UNSET"] * 3), words
        assert "set REGISTRY, or give a default" in said.err
    said = deployable.run("status")
    local, production = said.data["environments"]
    assert (said.exit_code, local["answers"]) == (0, True)
    assert production["note"].startswith("what runs is not known: ml.yaml:")
    assert "${REG_PASSWORD}" not in str(said.data)
    assert deployable.run("history", "--env", "production").data["moves"] == []
    assert deployable.run("predict", "data.csv", "-o", "out.csv").exit_code == 0


def test_ending_a_service_needs_no_variables(deployable, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    said = deployable.run("stop", "--env", "production")
    assert (said.exit_code, said.codes) == (5, ["DEP_DOCKER"]), "it went as far as the engine"
    gc.collect()  # docker-py leaves the socket of a client that it could not make: see tests/docker/fixtures.py
