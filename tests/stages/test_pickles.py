"""A store with pickles, and a repository that says skops: nothing of them is loaded, and what to do is said."""

from __future__ import annotations

import json

import pytest


@pytest.fixture
def deployed(repository):
    """A repository whose environment serves a joblib model, and whose ml.yaml says skops since."""
    repository.change("estimator: sklearn", "format: joblib\n  onnx: never\n  estimator: sklearn")
    repository.change("store: store", "store: store\ndeploy:\n  local: {target: app}\n")
    for stage in ("prepare", "train", "test", "validate"):
        said = repository.run(stage)
        assert said.exit_code == 0, said.err
    return repository


def test_a_pickle_of_another_configuration_is_neither_read_nor_deployed(deployed):
    assert deployed.run("predict", "data.csv", "-o", "out.csv").exit_code == 0
    said = deployed.run("predict", "data.csv", "-o", "out.csv", "--set", "model.format=skops")
    assert (said.exit_code, said.codes) == (3, ["MOD_STALE"])
    assert "model.format" in said.err
    said = deployed.run("deploy", "--set", "model.format=skops", "--override-gate", "why", "--by", "me")
    assert (said.exit_code, said.codes[-1]) in ((3, "MOD_PICKLE"), (3, "MOD_STALE"), (4, "DEP_NOT_APPROVED")), said.err
    assert not (deployed.folder / "store" / "models").exists() or not list(
        (deployed.folder / "store").rglob("model.joblib")
    )


def test_a_record_that_says_joblib_does_not_help(deployed):
    """Somebody who can write the store makes a pickle of a skops model, with records that agree."""
    deployed.change("format: joblib", "format: skops")
    for stage in ("train", "test", "validate"):
        assert deployed.run(stage).exit_code == 0
    signature = deployed.folder / ".mlci" / "train" / "signature.json"
    told = json.loads(signature.read_text())
    told["model"] |= {"format": "joblib", "file": "model.joblib"}
    signature.write_text(json.dumps(told))
    said = deployed.run("predict", "data.csv", "-o", "out.csv")
    assert said.exit_code == 3
    assert said.codes[0] in ("MOD_RECORD", "MOD_PICKLE")
