"""Numbers in MLCI_* variables: refused when they are none, whatever the command."""

import pytest

from stages import variables
from stages.cli import main
from stages.errors import UsageError
from stages.serving.limits import Limits

WRONG = ["abc", "", "-1", "nan", "inf", "1e999", "9" * 5000, "0x10", "\u0663", "12 s", "1e10"]
NAMES = ["MLCI_LOCK_TIMEOUT", "MLCI_READY_SECONDS", "MLCI_KEEP_IMAGES", "MLCI_IMAGE_MAX_MB"]


@pytest.mark.parametrize("name", [*NAMES, "MLCI_SERVE_MAX_ROWS", "MLCI_SERVE_GRACE_SECONDS"])
@pytest.mark.parametrize("text", ["many", "9" * 5000])
def test_a_command_refuses_it_before_it_does_anything(name, text, monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, text)
    assert main(["run"]) == 2
    shown = capsys.readouterr().err
    assert shown.startswith(f"error CFG_LIMIT: {name}='")
    assert len(shown) < 300
    assert "CFG_FILE" not in shown


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_number(text):
    with pytest.raises(UsageError, match="CFG_LIMIT"):
        variables.measure("MLCI_READY_SECONDS", 120, environment={"MLCI_READY_SECONDS": text})
    with pytest.raises(UsageError, match="CFG_LIMIT"):
        variables.count("MLCI_KEEP_IMAGES", 3, 0, environment={"MLCI_KEEP_IMAGES": text + "." * (text == "1e10")})


def test_the_default_and_the_least_value():
    assert variables.measure("MLCI_LOCK_TIMEOUT", 3600, 0, environment={}) == 3600
    assert variables.measure("MLCI_LOCK_TIMEOUT", 3600, 0, environment={"MLCI_LOCK_TIMEOUT": "0"}) == 0
    assert variables.count("MLCI_KEEP_IMAGES", 3, 0, environment={"MLCI_KEEP_IMAGES": " 7 "}) == 7
    with pytest.raises(UsageError, match="of at least 1"):
        variables.count("MLCI_SERVE_MAX_ROWS", 3, environment={"MLCI_SERVE_MAX_ROWS": "0"})


def test_the_limits_of_a_service_are_read_alike():
    assert Limits.from_environment({"MLCI_SERVE_DRAIN_SECONDS": "0"}).drain_seconds == 0
    with pytest.raises(UsageError, match=r"MLCI_SERVE_MAX_BODY_BYTES='1\.5'"):
        Limits.from_environment({"MLCI_SERVE_MAX_BODY_BYTES": "1.5"})
