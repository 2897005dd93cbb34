"""The model card says what is known, leaves nothing to fill in, and cannot be broken by what people write."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stages.model import card, training
from tests.stages.model.conftest import Bench


def _card(bench: Bench, config: Any, **facts: Any) -> str:
    trained = training.train(config, bench.prepared, bench.out, None)
    known: dict[str, Any] = {
        "signature": trained.signature,
        "metrics": trained.metrics,
        "params": trained.pipeline.steps[-1][1].get_params(deep=False),
        "given": trained.given,
        "preprocessing": card.steps(trained.pipeline.steps[0][1]),
        "digests": {"model.skops": trained.signature["model"]["sha256"]},
        "source": "data.csv",
        "profile": {"quarantined": {"DAT_NULL": 3}},
    }
    return card.card(config, card.Facts(**{**known, **facts}))


def test_every_section_and_no_placeholder(bench: Bench) -> None:
    config = bench.config("late", "sklearn.linear_model.LogisticRegression", params={"C": 0.5}, cv=2)
    text = _card(bench, config)
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == [
        "Description",
        "Intended use",
        "Limits",
        "Owner",
        "Training data",
        "Features",
        "Estimator",
        "Evaluation",
        "How to use",
        "Versions",
        "Digests",
    ]
    assert text.count("not stated") == 3
    for word in ("TODO", "TBD", "FIXME", "placeholder", "…", "Lorem", "[More Information Needed]", "None given"):
        assert word not in text
    assert "| `C` | `0.5` | set |" in text
    assert "| `random_state` | `42` | seed |" in text
    assert re.search(r"\| `roc_auc` \| 0\.\d+ \| 0\.\d+ \| 0\.\d+ ± 0\.\d+ \|", text)
    assert "300 rows to train, 80 to test" in text
    assert "Classes: false, true. Positive: true." in text
    assert "DAT\\_NULL 3" in text


def test_what_people_wrote_is_escaped(bench: Bench) -> None:
    config = bench.config("late", "sklearn.linear_model.LogisticRegression")
    said = {
        "owner": "<script>alert(1)</script>",
        "intended_use": "# big\n| a | b |",
        "limits": "[x](http://evil) `y` **z**",
    }
    config = type(config).model_validate({**config.model_dump(by_alias=True), "card": said})
    text = _card(bench, config, source="a`b|c <img>")
    assert "<script>" not in text
    assert "\n# big" not in text
    assert "](http" not in text
    assert "\\*\\*z\\*\\*" in text
    assert "<img>" not in text
    for line in text.splitlines():
        if line.startswith("|"):
            assert line.endswith("|")


def test_tables_have_the_same_number_of_cells_in_each_row(bench: Bench) -> None:
    columns: dict[str, Any] = {
        "size": {"type": "number", "nullable": True},
        "kind": {"type": "category", "nullable": True, "pattern": "a|b|`c`"},
    }
    text = _card(bench, bench.config("late", "sklearn.linear_model.LogisticRegression", columns))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    cells = [len(re.split(r"(?<!\\)\|", row)) for row in rows]
    assert set(cells) <= {4, 5, 6}
    assert "a\\|b" in text


def test_missing_metrics_are_listed_with_their_reason(bench: Bench) -> None:
    text = _card(bench, bench.config("late", "sklearn.svm.LinearSVC"))
    assert "- `log_loss`: the estimator gives no probabilities" in text


def test_a_search_and_a_regression_are_described(bench: Bench) -> None:
    search = {"method": "grid", "params": {"alpha": [0.1, 1.0]}, "cv": 2}
    text = _card(bench, bench.config("amount", "sklearn.linear_model.Ridge", search=search))
    assert "Chosen by grid search for root\\_mean\\_squared\\_error: 2 of 2 candidates, 2 folds." in text
    assert "Classes" not in text
    assert re.search(r"\| `alpha` \| `\d\.\d` \| set \|", text)


@pytest.mark.parametrize(("value", "expected"), [("a_b", "a\\_b"), ("x\n y", "x y"), ("<a>", "\\<a\\>"), (3, "3")])
def test_text(value: Any, expected: str) -> None:
    assert card.text(value) == expected
