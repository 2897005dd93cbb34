"""What goes where: errors on standard error as text or as JSON objects, the answer as the last line."""

import json

import pytest

from stages import cli
from tests.stages.test_refusals import CASES

FAILING = [
    "no such option",
    "a missing key",
    "broken YAML",
    "no data",
    "too many bad rows",
    "train before prepare",
    "deploy before a verdict",
    "a bound that is not reached",
]


@pytest.mark.parametrize("name", FAILING)
@pytest.mark.parametrize("before", [True, False])
def test_with_json_logs_every_line_is_an_object(repository, name, before):
    steps, words, exit_code, code, hint = CASES[name]
    for step in steps:
        step(repository)
    said = repository.run(*(["--log-format", "json", *words] if before else [*words, "--log-format=json"]))
    lines = [json.loads(line) for line in said.err.splitlines()]
    errors = [line for line in lines if line["level"] == "error"]
    assert [(e["code"], e["message"], e["todo"]) for e in errors] == [
        (e["code"], e["what"], e["todo"]) for e in said.data["errors"]
    ]
    assert errors
    assert all(set(line) >= {"time", "level", "message"} for line in lines)
    assert (said.exit_code, said.data["exit_code"]) == (exit_code, exit_code)
    assert code is None or said.data["error"]["code"] == code
    assert hint in said.err


def test_the_last_line_names_command_stage_code_and_exit_code(repository):
    repository.change("min: 0.6", "min: 0.9999")
    said = repository.run("run")
    assert (said.exit_code, said.data["command"], said.data["exit_code"]) == (4, "run", 4)
    assert [(s["stage"], s["exit_code"]) for s in said.data["stages"]][-1] == ("validate", 4)
    assert said.data["error"] == said.data["errors"][0]
    again = repository.run("validate")
    assert (again.exit_code, again.data["exit_code"], again.data["stage"]) == (4, 4, "validate")
    assert again.data["error"] == said.data["error"]
    repository.write("data.csv", "id\n")
    said = repository.run("run")
    assert [(s["stage"], s["status"], s["exit_code"]) for s in said.data["stages"]] == [("prepare", "failed", 3)]
    assert said.data["error"]["code"] in said.codes


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_bug_has_its_trace_in_either_form(repository, monkeypatch, log_format):
    def broken(arguments):
        raise RuntimeError("of mlci")

    monkeypatch.setitem(cli.COMMANDS, "doctor", ("check this machine", broken, []))
    said = repository.run("doctor", "--log-format", log_format)
    assert (said.exit_code, said.data) == (1, {"command": "doctor", "exit_code": 1})
    if log_format == "json":
        (line,) = map(json.loads, said.err.splitlines())
        assert (line["level"], line["message"]) == ("error", cli.REPORT)
        assert "RuntimeError: of mlci" in line["trace"]
    else:
        assert said.err.startswith("Traceback")
        assert said.err.endswith(f"RuntimeError: of mlci\n{cli.REPORT}\n")


def test_settings_before_and_after_the_command_all_count(repository):
    said = repository.run("--set", "model.sed=1", "--set", "nam=a", "check", "--set", "tsak=b")
    assert (said.exit_code, len(said.codes)) == (2, 3)
    assert {"model.sed", "nam", "tsak"} <= set(said.err.replace(":", " ").split())
    for words in (["--set", "model.seed=x", "check"], ["check", "--set", "model.seed=x"]):
        assert repository.run(*words).exit_code == 2
