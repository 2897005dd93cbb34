"""What `mlci check` finds, `mlci run` finds before it reads any data."""

import pytest

CLASSES = """
    import numpy as np
    from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

    class Table:
        def __init__(self, levels):
            self.levels = levels

    class Mine(ClassifierMixin, BaseEstimator):
        def fit(self, X, y, sample_weight=None):
            self.classes_ = np.unique(y)
            self.table_ = Table(len(y))
            return self

        def predict(self, X):
            return np.repeat(self.classes_[:1], X.shape[0])

    class Stubborn(Mine):
        def fit(self, X, y, sample_weight=None):
            if len(y) < 301:
                raise ValueError("too few rows")
            return super().fit(X, y)

    class Asked(Mine):
        def fit(self, X, y, sample_weight=None):
            with open("asked", "a") as file:
                print(len(y), file=file)
            return super().fit(X, y)
"""


def both(repository):
    """Codes and messages of check and of run, which has read nothing."""
    checked, ran = repository.run("check"), repository.run("run")
    assert not (repository.folder / ".mlci" / "prepare").exists()
    codes = {error["code"] for error in checked.data["errors"]}
    assert checked.exit_code == ran.exit_code == (3 if codes <= {"MOD_UNTRUSTED", "DAT_SOURCE"} else 2)
    assert checked.data["errors"] == ran.data["errors"]
    return [(error["code"], error["what"]) for error in checked.data["errors"]]


@pytest.mark.parametrize(
    ("changes", "code", "said"),
    [
        ([("roc_auc:", "roc_ac:")], "CFG_METRIC", "roc_ac"),
        ([("roc_auc:", "r2:")], "CFG_METRIC", "r2 is not for"),
        ([("LogisticRegression", "RidgeClassifier"), ("roc_auc:", "log_loss:")], "CFG_METRIC", "RidgeClassifier gives"),
        ([("LogisticRegression", "LogisticRegresion")], "CFG_ESTIMATOR", "LogisticRegresion"),
        ([("LogisticRegression", "LogisticRegression\n  params: {c: 1}")], "CFG_ESTIMATOR", "'c'"),
        ([("LogisticRegression", "LogisticRegression\n  params: {C: -1}")], "CFG_ESTIMATOR", "'C'"),
        ([("sklearn.linear_model.LogisticRegression", "neverheard.Of")], "CFG_ESTIMATOR", "no module 'neverheard'"),
        ([("LogisticRegression", "LogisticRegression\n  search: {params: {c: [1]}}")], "CFG_SEARCH", "'c'"),
        ([("source: data.csv", 'source: {sql: "select 1", url: "oracle://u@h/d"}')], "DAT_SOURCE", "not installed"),
        ([("source: data.csv", 'source: {sql: "select 1", url: "nosuch://u@h/d"}')], "DAT_SOURCE", "nosuch"),
        ([("source: data.csv", "source: python:gone:rows")], "CFG_IMPORT", "gone"),
    ],
)
def test_check_and_run_find_the_same(repository, changes, code, said):
    for old, new in changes:
        repository.change(old, new)
    ((found, message),) = both(repository)
    assert (found, said in message) == (code, True), message


def test_all_of_it_is_told_at_once(repository):
    repository.change("roc_auc:", "roc_ac:")
    repository.change("LogisticRegression", "LogisticRegression\n  params: {c: 1}\ntest: {unit: nowhere}")
    assert [code for code, _ in both(repository)] == ["CFG_ESTIMATOR", "CFG_METRIC", "CFG_TEST_FOLDER"]


@pytest.mark.parametrize(("name", "types"), [("Mine", "mine.Mine, mine.Table"), ("Stubborn", "mine.Stubborn")])
def test_types_of_a_fitted_model_are_told_before_there_are_data(repository, name, types):
    repository.write("mine.py", CLASSES)
    repository.change("sklearn.linear_model.LogisticRegression", f"mine.{name}")
    repository.change("roc_auc:", "accuracy:")
    ((code, message),) = both(repository)
    assert (code, message) == ("MOD_UNTRUSTED", f"the model holds types that are not trusted: {types}")


def test_training_tries_a_few_rows_before_all(repository):
    repository.write("mine.py", CLASSES)
    repository.change("sklearn.linear_model.LogisticRegression", "mine.Asked\n  trust: [mine.Asked]")
    repository.change("roc_auc:", "accuracy:")
    assert repository.run("prepare").exit_code == 0
    said = repository.run("train")
    assert (said.exit_code, said.codes) == (3, ["MOD_UNTRUSTED"])
    assert "mine.Table" in said.err
    assert [int(line) for line in (repository.folder / "asked").read_text().split()] == [60]
    repository.change("trust: [mine.Asked]", "trust: [mine.Asked, mine.Table]")
    assert repository.run("train").exit_code == 0


def test_an_unchanged_model_is_not_asked_again(repository):
    for stage in ("prepare", "train"):
        assert repository.run(stage).exit_code == 0
    repository.change("roc_auc:", "roc_ac:")
    said = repository.run("run")
    assert (said.exit_code, said.codes) == (2, ["CFG_METRIC"])
    repository.change("roc_ac:", "roc_auc:")
    assert [stage["status"] for stage in repository.run("run").data["stages"][:2]] == ["skipped", "skipped"]
