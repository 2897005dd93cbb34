"""What `${VAR}` became is shown in no message: it may be a secret, whatever the key that holds it."""

import json

import pytest

from stages.cli import main
from stages.config import load
from stages.errors import ConfigError, hide, masked

SECRET = "s3cr3t/word+42"
ML = """
name: demo
task: classification
data:
  source: {source}
  target: late
  columns: {{a: {{type: number}}, late: {{type: boolean}}}}
model: {{estimator: sklearn.linear_model.LogisticRegression}}
"""


@pytest.mark.parametrize(
    "source",
    [
        "{sql: select 1, url: 'sqlite:///${K}.db'}",
        "{sql: select 1, url: '${K}://host/name'}",
        "{sql: select 1, url: 'postgresql+${K}://host/name'}",
        "{sql: 'select ${K}', url: 'sqlite:///:memory:'}",
        "'data/${K}.csv'",
        "'ftp://host/${K}/x.csv'",
        "'http://127.0.0.1:9/${K}/x.csv'",
        "'http://[${K}/x.csv'",
        "'s3://${K}/x.csv'",
        "'python:${K}:rows'",
        "'data/*${K}*.csv'",
    ],
)
def test_no_command_shows_it(source, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("K", SECRET)
    monkeypatch.setattr("stages.data.fetch.PAUSES", ())
    (tmp_path / "ml.yaml").write_text(ML.format(source=source))
    codes = {main(["check", "--json"]), main(["prepare", "--json"]), main(["prepare", "--log-format", "json"])}
    assert codes <= {0, 2, 3, 5}
    shown = "".join(capfd.readouterr())
    kept = "".join(path.read_text(errors="replace") for path in (tmp_path / ".mlci").rglob("result.json"))
    assert SECRET not in shown + kept
    assert json.dumps(SECRET)[1:-1] not in shown + kept
    if "sql" not in source:  # a database may quote a part of a query
        assert SECRET.split("/")[0] not in shown + kept


@pytest.mark.parametrize("key", ["data.target", "validate.champion", "model.estimator", "task", "data.split.by"])
def test_errors_of_the_configuration(key, tmp_path):
    (tmp_path / "ml.yaml").write_text(ML.format(source="x.csv"))
    with pytest.raises(ConfigError) as refused:
        load(tmp_path / "ml.yaml", [f"{key}=${{K}}"], {"K": SECRET})
    assert not [p for p in refused.value.problems() if SECRET in f"{p}{p.what}{p.todo}"]


@pytest.mark.parametrize("value", ["geheim", "Geheim7", "gehe-im"])
def test_a_word_that_a_variable_is_a_part_of(value, tmp_path):
    (tmp_path / "ml.yaml").write_text(ML.format(source="{sql: select 1, url: 'sqlite:///pre${K}post.db'}"))
    load(tmp_path / "ml.yaml", [], {"K": value})
    assert masked(f"no file pre{value}post.db") == "no file pre${K}post.db"
    assert masked(f"{value}: no") == "${K}: no"


def test_a_plain_word_is_hidden_where_it_stands_alone():
    hide({"admin": "${USER}"})
    assert masked("run mlci-admin as admin") == "run mlci-admin as ${USER}"


def test_the_longest_value_goes_first_and_short_ones_stay():
    hide({"word": "${A}", "word-and-more": "${B}", "80": "${PORT}"})
    assert masked("word-and-more on port 80, word") == "${B} on port 80, ${A}"
    hide({})
    assert masked("word") == "word"
