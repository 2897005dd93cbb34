"""Signs of life: what a command says of itself when nothing else is said. Time is given, nobody waits."""

import pytest

from stages import console
from stages.console import SignsOfLife


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def said():
    return []


@pytest.fixture
def life(clock, said):
    return SignsOfLife(clock, said.append)


def watched(life, clock, seconds, patience):
    """A beat each second, as the thread gives it."""
    for _ in range(seconds):
        clock.now += 1
        life.beat("train", patience)


def test_what_takes_long_is_said_again_and_again(life, clock, said):
    life.begin("fitting a forest on 9 rows")
    watched(life, clock, 95, 30)
    assert said == [
        "train: fitting a forest on 9 rows (30 s)",
        "train: fitting a forest on 9 rows (1 min 0 s)",
        "train: fitting a forest on 9 rows (1 min 30 s)",
    ]


def test_what_was_said_counts(life, clock, said):
    life.begin("reading")
    for _ in range(10):
        watched(life, clock, 29, 30)
        life.spoke()
    assert said == []
    watched(life, clock, 30, 30)
    assert said == ["train: reading (5 min 20 s)"]


def test_the_time_is_that_of_the_activity_and_the_note_says_how_far(life, clock, said):
    life.begin("reading")
    watched(life, clock, 3, 5)
    life.begin("search")
    life.note("3 of 9 candidates")
    watched(life, clock, 3, 5)
    assert said == ["train: 3 of 9 candidates (2 s)"]
    clock.now += 3600
    life.beat("train", 5)
    assert said[-1] == "train: 3 of 9 candidates (1 h)"


def test_a_bar_shows_that_time_passes(life, clock, said):
    shown: list[str] = []
    life.show = shown.append
    life.begin("fitting")
    watched(life, clock, 60, 5)
    assert (said, shown) == ([], ["fitting"])
    life.show = None
    watched(life, clock, 5, 5)
    assert len(said) == 1


def test_what_takes_long_in_the_stages_has_a_name(monkeypatch, repository):
    named = []
    monkeypatch.setattr(SignsOfLife, "begin", lambda self, text: named.append(text))
    repository.write("tests/unit/test_it.py", "def test_it():\n    pass\n")
    repository.change("store: store", "store: store\ntest: {unit: tests/unit}")
    for stage in ("prepare", "train", "test", "validate"):
        assert repository.run(stage).exit_code == 0
    for text in (
        "400 rows read; writing both sides",
        "figures of train: column 5 of 5",
        "converting to ONNX",
        "recording requests",
        "running unit tests",
        "comparison with the baselines",
        "leakage: feature 3 of 3",
    ):
        assert any(text in one for one in named), named
    assert any(one.startswith("fitting LogisticRegression on ") for one in named)


@pytest.mark.parametrize(("terminal", "seconds"), [(True, 5), (False, 30)])
def test_a_terminal_is_told_sooner_than_a_log(monkeypatch, terminal, seconds):
    asked = []
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal, raising=False)
    monkeypatch.setattr(SignsOfLife, "beat", lambda self, label, patience: asked.append((label, patience)))
    monkeypatch.setattr(console, "TICK", 0.001)
    with console.heartbeat("validate"):
        while not asked:
            pass
    assert asked[0] == ("validate", seconds)


def test_each_line_of_the_log_is_a_sign_of_life(monkeypatch, capsys):
    spoken = []
    console.set_up()
    monkeypatch.setattr(SignsOfLife, "spoke", lambda self: spoken.append(1))
    console.log.info("something")
    assert spoken == [1]
    assert "something" in capsys.readouterr().err
