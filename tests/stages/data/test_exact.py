"""What a type cannot hold exactly is refused with its value, whatever the source: never wrapped around, never rounded
to another value that looks right."""

import codecs
import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config.schema import ReadOptions
from stages.data import cells, jsonl, parquetfile
from stages.data.convert import convert
from stages.errors import DataError

FOREVER = dt.datetime.fromisoformat("9999-12-31T02:00")
NEVER = dt.datetime.fromisoformat("0001-01-01")
EPOCH = dt.datetime.fromisoformat("1970-01-01")


def test_timestamps_as_spark_writes_them(repository):
    moments = [EPOCH + dt.timedelta(hours=i, microseconds=1) for i in range(50)]
    moments[5], moments[7] = FOREVER, NEVER
    table = pa.table({"t": pa.array(moments, pa.timestamp("us")), "y": [float(i % 7) for i in range(50)]})
    pq.write_table(table, repository.root / "d.parquet", use_deprecated_int96_timestamps=True)
    columns = {"t": {"type": "datetime"}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.parquet")
    assert sorted(t for (t,) in prepared.rows("t")) == sorted(moments)


def test_timestamps_beyond_microseconds(tmp_path):
    path = tmp_path / "far.parquet"
    seconds = [0, 20 * 10**12, None]  # the year 635,746
    table = pa.table({"t": pa.array(seconds, pa.timestamp("s"))})
    pq.write_table(table, path, use_deprecated_int96_timestamps=True)
    (chunk,) = parquetfile.chunks(path, "far.parquet", ["t"])
    assert chunk.columns["t"].to_pylist() == [EPOCH, None, None]
    assert [(c.code, c.rows.tolist(), c.values) for c in chunk.cells] == [
        ("DAT_DATETIME", [1], ["20000000000000 s since 1970"])
    ]


@pytest.mark.parametrize("unit", ["s", "ms", "us"])
@pytest.mark.parametrize("zone", [None, "UTC", "Europe/Berlin"])
def test_timestamps_out_of_the_calendar(unit, zone):
    from zoneinfo import ZoneInfo

    far = 2**63 - 1
    found = convert(pa.array([0, far, -far, None], pa.timestamp(unit)), "datetime", zone=zone and ZoneInfo(zone))
    assert {code: at.tolist() for code, at in found.bad.items()} == {"DAT_DATETIME": [1, 2]}
    assert found.values.is_valid().to_pylist() == [True, False, False, False]


@pytest.mark.parametrize("kind", [pa.date32(), pa.date64()])
def test_dates_out_of_the_calendar(kind):
    day = 1 if kind == pa.date32() else 86_400_000
    days = pa.array([0, 2_932_897 * day, -719_163 * day], kind)  # 10000-01-01 and the last day before the year 1
    assert convert(days, "datetime").bad["DAT_DATETIME"].tolist() == [1, 2]


@pytest.mark.parametrize(
    "text", ["1701234567890", "1701123112345", "1701010101234", "17010109612", "1700000000", "170101011200000"]
)
def test_an_epoch_number_is_no_date(text):
    assert convert(pa.array([text]), "datetime").bad["DAT_DATETIME"].tolist() == [0]
    with pytest.raises(cells.Refused):
        cells.moment(text)


@pytest.mark.parametrize("text", ["20240131", "20240131T1200", "2024-01-31t12:00", "2024-W05-3", "2024W053 12"])
def test_iso_forms_are_dates(text):
    assert cells.moment(text).date() == dt.date(2024, 1, 31)


@pytest.mark.parametrize(
    ("values", "good"),
    [
        (["9007199254740993.0", "9007199254740991.0"], [None, 2**53 - 1]),
        (["4503599627370497.2", "1e2", "1e400", "1e-400"], [None, 100, None, None]),
        (["9223372036854775807", "9223372036854775808"], [2**63 - 1, None]),
        (pa.array([2**64 - 1, 2**63 - 1], pa.uint64()), [None, 2**63 - 1]),
        (pa.array([2.0**53, 2.0**53 - 1], pa.float64()), [None, 2**53 - 1]),
        (pa.array([Decimal(2**63), Decimal(2**63 - 1)], pa.decimal128(38, 0)), [None, 2**63 - 1]),
        (pa.array([Decimal(10**60 + 1), Decimal(7)], pa.decimal256(76, 0)), [None, 7]),
    ],
)
def test_integers_are_exact_or_refused(values, good):
    assert convert(values if isinstance(values, pa.Array) else pa.array(values), "integer").values.to_pylist() == good


def test_numbers_of_decimals_are_the_nearest():
    text = "12345678901234567.891"
    found = convert(pa.array([Decimal(text), None], pa.decimal128(38, 3)), "number")
    assert found.values.to_pylist() == [float(text), None]


@pytest.mark.parametrize("source", [["1.0", "0.0", "TRUE", "0"], [1.0, 0.0, True, 0]])
def test_booleans_as_pandas_writes_them(source):
    assert convert(source, "boolean").values.to_pylist() == [True, False, True, False]
    assert convert(["1,0", "0,00", "2,0"], "boolean", decimal=",").values.to_pylist() == [True, False, None]


# ---- JSON lines --------------------------------------------------------------------------------------------------


def rows(path, encoding="utf-8"):
    return [
        value
        for chunk in jsonl.chunks(path, "d", ReadOptions(encoding=encoding), ["x"])
        for value in chunk.columns["x"]
    ]


@pytest.mark.parametrize("start", [10**18, 2**63 - 1, 2**64 - 1, 2**64, 10**30, -(2**64)])
def test_integers_of_json_keep_their_digits(tmp_path, start):
    path = tmp_path / "d.jsonl"
    ids = [start + i for i in range(3)]
    path.write_text("".join(json.dumps({"x": i, "other": [1.5]}) + "\n" for i in ids))
    assert rows(path) == ids


def test_fractions_of_json_keep_their_digits(repository):
    ids = [start + str(i) for start in ("0.1234567890123456789", "1234567890123456.7") for i in range(11, 99, 2)]
    lines = [f'{{"id": {one}, "x": {one}, "n": 0.5, "y": {i}}}\n' for i, one in enumerate(ids)]
    (repository.root / "d.jsonl").write_text("".join(lines))
    columns = {"id": {"type": "category", "feature": False}, "x": {"type": "number"}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.jsonl", key=["id"])
    assert {one for (one,) in prepared.rows("id")} == set(ids)
    assert {x for (x,) in prepared.rows("x")} == set(map(float, ids))
    assert sorted(prepared.rows("x", "y")) == sorted((float(one), float(i)) for i, one in enumerate(ids))


def test_fractions_of_many_digits_are_numbers_in_a_transform(repository):
    lines = [f'{{"mean": {i}.33333333333333333333, "y": {i}}}\n' for i in range(60)]
    (repository.root / "d.jsonl").write_text("".join(lines))
    repository.write("half.py", "def f(frame):\n    frame['half'] = frame['mean'] / 2\n    return frame\n")
    columns = {"half": {"type": "number"}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.jsonl", transform="half:f")
    assert sorted(half for (half,) in prepared.rows("half")) == [(i + 1 / 3) / 2 for i in range(60)]


def test_fractions_that_float64_rounds_are_no_keys(repository):
    lines = [f'{{"id": 0.1234567890123456789{i}, "y": {i}}}\n' for i in range(60)]
    (repository.root / "d.jsonl").write_text("".join(lines) + '{"id": 0.5, "y": 1}\n')
    columns = {"id": {"type": "number"}, "y": {"type": "number"}}
    with pytest.raises(DataError, match=r"id DAT_TYPE 60 \(row 1: '0.12345678901234567890'"):
        repository.prepare(columns, source="d.jsonl", key=["id"], max_bad_fraction=0.5)


@pytest.mark.parametrize("codec", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le"])
@pytest.mark.parametrize("configured", ["utf-8", "cp1252", "utf-16"])
def test_json_is_unicode_whatever_the_csv_is(tmp_path, codec, configured):
    path = tmp_path / "d.jsonl"
    path.write_bytes('{"x": "Köln\u2028"}\n{"x": "Łódź"}\r\n'.encode(codec))
    assert rows(path, configured) == ["Köln\u2028", "Łódź"]


def test_json_that_is_not_unicode(tmp_path):
    path = tmp_path / "d.jsonl"
    path.write_bytes('{"x": "Köln"}\n'.encode("cp1252"))
    assert rows(path, "cp1252") == ["Köln"]
    path.write_bytes(codecs.BOM_UTF16_LE + b'{\0"\0x')
    with pytest.raises(Exception, match="neither UTF-8 nor utf-16"):
        rows(path)


def test_ids_of_float32_are_not_made_up():
    assert convert(pa.array([2.0**24, 3.0], pa.float32()), "integer").values.to_pylist()[1] == 3
    assert np.float32(2**24) == np.float32(2**24 + 1)


# ---- numbers that tell rows apart, frames, init ------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_a_number_that_is_a_key_is_not_rounded(repository, kind):
    ids = [2**53 + i for i in range(4)] + list(range(40))
    table = pa.table({"id": ids, "x": [1.0] * 44, "y": [float(i) for i in range(44)]})
    path = repository.root / f"d.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "csv":
        table.to_pandas().to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    columns = {"id": {"type": "number", "feature": False}, "x": {"type": "number"}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source=path.name, key=["id"], max_bad_fraction=0.5)
    # 2^53 and 2^53 + 2 are floats
    assert prepared.refused == [(row, "id", "DAT_TYPE", str(ids[row - 1])) for row in (2, 4)]


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
@pytest.mark.parametrize("declared", [True, False])
def test_ids_with_gaps_keep_their_digits_in_a_transform(repository, kind, declared):
    ids = [2**60 + 1, None, 7]
    table = pa.table({"id": pa.array(ids * 20, pa.int64()), "x": [1.0] * 60, "y": [float(i) for i in range(60)]})
    path = repository.root / f"d.{kind}"
    if kind == "parquet":
        pq.write_table(table, path)
    elif kind == "csv":
        table.to_pandas(integer_object_nulls=True).to_csv(path, index=False)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in table.to_pylist()))
    repository.write("ids.py", "def f(frame):\n    frame['copy'] = frame['id']\n    return frame\n")
    columns = {"copy": {"type": "integer", "nullable": True}, "x": {"type": "number"}, "y": {"type": "number"}}
    if declared:
        columns["id"] = {"type": "integer", "nullable": True}
    prepared = repository.prepare(columns, source=path.name, transform="ids:f")
    assert {value for (value,) in prepared.rows("copy")} == set(ids)


def test_init_takes_ids_of_many_digits_for_text(tmp_path):
    from stages.commands.infer import look

    (tmp_path / "d.csv").write_text(
        "id,wide,n,y\n" + "".join(f"{2**70 + i},{2**63 - 1 - i},{i}.5,1\n" for i in range(90))
    )
    seen = look(tmp_path / "d.csv", "y").columns
    assert (seen["id"].type, seen["wide"].type, seen["n"].type) == ("text", "integer", "number")
    assert seen["wide"].last == 2**63 - 1


def test_init_takes_whole_decimals_for_integers_or_levels(tmp_path):
    from stages.commands.infer import look

    whole = pa.decimal128(38, 0)
    columns = {
        "n": pa.array([Decimal(i % 9) for i in range(90)], whole),
        "wide": pa.array([Decimal(10**30 + i % 5) for i in range(90)], whole),
        "part": pa.array([Decimal(i) / 4 for i in range(90)], pa.decimal128(38, 2)),
    }
    pq.write_table(pa.table({**columns, "y": [1, 2] * 45}), tmp_path / "d.parquet")
    seen = look(tmp_path / "d.parquet", "y").columns
    assert {name: seen[name].type for name in columns} == {"n": "integer", "wide": "category", "part": "number"}


def test_init_reads_timestamps_as_spark_writes_them(tmp_path):
    from stages.commands.infer import look

    table = pa.table({"t": pa.array([NEVER, FOREVER], pa.timestamp("us")), "y": [1, 2]})
    pq.write_table(table, tmp_path / "d.parquet", use_deprecated_int96_timestamps=True)
    seen = look(tmp_path / "d.parquet", "y").columns["t"]
    assert (seen.type, seen.example[:4]) == ("datetime", "0001")


@pytest.mark.parametrize(
    ("kind", "far"),
    [
        (pa.timestamp("s"), 2**52),
        (pa.timestamp("ms"), 253_402_300_800_000),
        (pa.timestamp("us", tz="UTC"), -(2**62)),
        (pa.date32(), 2**31 - 1),
        (pa.date64(), 86_400_000 * 10**8),
    ],
)
def test_the_quarantine_shows_what_python_cannot(repository, kind, far):
    moments = pa.array([far if i == 3 else 0 for i in range(20)], kind)
    pq.write_table(
        pa.table({"t": moments, "y": [float(i) for i in range(20)]}), repository.root / "d.parquet", version="2.6"
    )
    columns = {"t": {"type": "datetime", "timezone": "UTC"}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.parquet", max_bad_fraction=0.1)
    ((row, column, code, value),) = prepared.refused
    assert (row, column, code) == (4, "t", "DAT_DATETIME")
    assert "counted from 1970-01-01" in value
