"""Small files that unpack to more than memory holds: refused, in memory that does not grow with them."""

import gzip
import json
import subprocess
import sys
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config.schema import ReadOptions
from stages.data import csvfile, jsonl, parquetfile
from stages.errors import DataError

MIB = 1 << 20
#: Reads a file as its first two arguments say; prints the code of the error and the peak of resident memory, in MiB.
READ = """
import resource, sys
from pathlib import Path
from stages.config.schema import ReadOptions
from stages.data import csvfile, jsonl, parquetfile
from stages.errors import DataError
from stages.records.stage import peak_rss_bytes
before, code = peak_rss_bytes(), "read"
try:
    for _ in {"csv": csvfile, "jsonl": jsonl}[sys.argv[1]].chunks(Path(sys.argv[2]), "x", ReadOptions(), ["a", "b"]):
        pass
except DataError as error:
    code = error.code
print(code, (peak_rss_bytes() - before) >> 20)
"""


def read(kind, path):
    done = subprocess.run([sys.executable, "-c", READ, kind, str(path)], capture_output=True, text=True, check=True)
    code, grown = done.stdout.split()
    return code, int(grown)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("line.csv.gz", b"a,b\n1,2\n"),
        ("header.csv.gz", b"a,"),
        ("quote.csv.gz", b'a,b\n1,"'),
        ("cell.csv.gz", b"a,b\n1,2\n3,"),
        ("line.jsonl.gz", b'{"a": 1, "b": 2}\n{"a": "'),
        ("nothing.jsonl.gz", b""),
    ],
)
def test_a_line_without_an_end(name, start, tmp_path):
    with gzip.open(tmp_path / name, "wb", 1) as out:
        out.write(start)
        for _ in range(400):
            out.write(b"0" * MIB)
    code, grown = read(name.split(".")[1], tmp_path / name)
    assert code == "DAT_FORMAT"
    assert grown < 320, "MiB, for 400 MiB of text"


def test_rows_of_another_length_do_not_gather_in_memory(tmp_path):
    with gzip.open(tmp_path / "x.csv.gz", "wb", 1) as out:
        out.write(b"a,b\n1,2\n" + b"0\n" * 3_000_000)
    code, grown = read("csv", tmp_path / "x.csv.gz")
    assert (code, grown < 320) == ("DAT_FORMAT", True)


def test_the_message_names_the_line_and_the_limit(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b"[" * (17 * MIB))
    with pytest.raises(DataError, match=r"x\.jsonl: line 2 is longer than 16 MiB"):
        list(jsonl.chunks(path, "x.jsonl", ReadOptions(), ["a"]))
    path.write_text('{"a": 1}\n' + "[" * (17 * MIB), encoding="utf-16")
    with pytest.raises(DataError, match=r"x\.jsonl: line 2 is longer than 16 MiB"):
        list(jsonl.chunks(path, "x.jsonl", ReadOptions(encoding="utf-16"), ["a"]))


def test_a_long_line_below_the_limit_is_read(tmp_path):
    text = "x" * (9 * MIB)
    (tmp_path / "x.csv").write_text(f"a,b\n1,{text}\n")
    (chunk,) = csvfile.chunks(tmp_path / "x.csv", "x", ReadOptions(), ["b"])
    assert chunk.columns["b"][0].as_py() == text
    (tmp_path / "x.jsonl").write_text(json.dumps({"a": text}))
    (chunk,) = jsonl.chunks(tmp_path / "x.jsonl", "x", ReadOptions(), ["a"])
    assert chunk.columns["a"] == [text]


@pytest.mark.parametrize("deep", [200, 900, 5_000, 200_000])
def test_nested_json_is_a_refused_row_or_a_value(deep, tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text('{"a": 1}\n{"a": ' + "[" * deep + "]" * deep + "}\n" + '{"a": ' + "9" * 5000 + "}\n")
    (chunk,) = jsonl.chunks(path, "x", ReadOptions(), ["a"])
    assert chunk.read == 3
    assert chunk.columns["a"][0] == 1


@pytest.mark.parametrize("method", [1, 97])
def test_a_zip_of_an_unknown_method(method, tmp_path):
    with zipfile.ZipFile(tmp_path / "x.csv.zip", "w") as out:
        out.writestr("x.csv", "a,b\n1,2\n")
    content = bytearray((tmp_path / "x.csv.zip").read_bytes())
    for mark, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(mark) + at] = method
    (tmp_path / "x.csv.zip").write_bytes(content)
    with pytest.raises(DataError, match="DAT_FORMAT"):
        csvfile.header(tmp_path / "x.csv.zip", "x", ReadOptions())


PARQUET = READ.replace("csvfile, jsonl", "csvfile, jsonl, parquetfile").replace(
    '{"csv": csvfile, "jsonl": jsonl}[sys.argv[1]].chunks(Path(sys.argv[2]), "x", ReadOptions(), ["a", "b"])',
    'parquetfile.chunks(Path(sys.argv[2]), "x", ["a"])',
)


@pytest.mark.parametrize(
    ("length", "rows", "code"),
    [(100_000, 60_000, "DAT_FORMAT"), (4_000, 120_000, "read"), (1 << 20, 5_000, "DAT_FORMAT")],
)
def test_a_dictionary_of_parquet_that_unpacks_to_gigabytes(length, rows, code, tmp_path):
    texts = pa.DictionaryArray.from_arrays(pa.array([0, None] * (rows // 2), pa.int32()), pa.array(["x" * length]))
    whole = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), pa.array(["x" * length]))
    pq.write_table(pa.table({"a": whole if code != "read" else texts}), tmp_path / "x.parquet", store_schema=False)
    assert (tmp_path / "x.parquet").stat().st_size < 200_000
    command = [sys.executable, "-c", PARQUET, "parquet", str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.split()[0], int(done.stdout.split()[1]) < 400) == (code, True), done.stdout


def test_long_texts_of_parquet_come_in_small_chunks(tmp_path):
    pq.write_table(
        pa.table({"a": ["x" * MIB] * 300}),
        tmp_path / "x.parquet",
        use_dictionary=False,
        compression="zstd",
        write_batch_size=4,
    )
    command = [sys.executable, "-c", PARQUET, "parquet", str(tmp_path / "x.parquet")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout.split()[0], int(done.stdout.split()[1]) < 500) == ("read", True), done.stdout


def test_repeated_texts_come_as_they_were_written(tmp_path):
    values = [None if i % 7 == 0 else f"level {i % 5}" for i in range(10_000)]
    pq.write_table(pa.table({"b": values, "a": values, "n": range(10_000)}), tmp_path / "x.parquet")
    found = list(parquetfile.chunks(tmp_path / "x.parquet", "x", ["a", "n", "b"], 3_000))
    assert [value for chunk in found for value in chunk.columns["a"].to_pylist()] == values
    assert [value for chunk in found for value in chunk.columns["n"].to_pylist()] == list(range(10_000))
    assert found[0].columns["b"].type == pa.string()
