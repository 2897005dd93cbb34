import numpy as np
import pandas as pd
from features import LATE_MINUTES, arrived, columns


def flights(*delays):
    return pd.DataFrame({"arr_delay": delays})


def test_flights_that_never_arrived_have_no_label():
    assert list(arrived(flights(3.0, np.nan, 40.0)).index) == [0, 2]


def test_late_is_more_than_fifteen_minutes():
    assert list(arrived(flights(LATE_MINUTES, LATE_MINUTES + 1))["late"]) == [False, True]


def test_an_airport_never_seen_gets_a_code_of_its_own():
    seen = pd.DataFrame({"carrier": ["AA"] * 300, "origin": ["JFK"] * 300, "dest": ["LAX"] * 300, "hour": 9.0})
    encoded = columns().fit(seen).transform(seen.head(1).assign(dest="XXX"))
    assert list(encoded[0]) == [0, 0, -1, 9]
