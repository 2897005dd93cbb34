"""Against the candidate while it is served; MLCI_URL is its address."""

import json
import os
import urllib.error
import urllib.request

import pytest

URL = os.environ["MLCI_URL"]
ON_TIME = {
    "dep_delay": -3,
    "carrier": "DL",
    "origin": "JFK",
    "dest": "LAX",
    "distance": 2475,
    "month": 5,
    "hour": 9,
    "minute": 30,
    "temp": 66.0,
    "wind_speed": 5.8,
    "precip": 0.0,
    "visib": 10.0,
    "pressure": 1018.2,
}


def ask(*rows):
    body = json.dumps({"rows": rows}).encode()
    request = urllib.request.Request(f"{URL}/predict", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


def late(**changes):
    return ask({**ON_TIME, **changes})["probabilities"][0]["true"]


def test_leaving_early_arrives_on_time():
    assert ask(ON_TIME)["predictions"] == [False]


def test_two_hours_late_at_departure_is_late_at_arrival():
    assert ask({**ON_TIME, "dep_delay": 120})["predictions"] == [True]


def test_leaving_later_never_makes_it_less_likely_to_be_late():
    chances = [late(dep_delay=minutes) for minutes in (0, 20, 60, 120)]
    assert chances == sorted(chances)


def test_missing_weather_and_an_unknown_airport_are_answered():
    assert 0 <= late(temp=None, pressure=None, dest="XXX") <= 1


def test_an_airport_outside_new_york_is_refused():
    with pytest.raises(urllib.error.HTTPError) as refusal:
        late(origin="SFO")
    with refusal.value as answer:
        assert answer.code == 422
        assert "/rows/0/origin" in answer.read().decode()
