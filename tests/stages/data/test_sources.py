"""Where data comes from: paths, globs, URLs, SQL and Python, on real files, servers and data bases."""

import gzip
import http.server
import io
import logging
import sqlite3
import threading
import zlib
from contextlib import contextmanager

import pandas as pd
import pyarrow.parquet as pq
import pytest

from stages.config.schema import ReadOptions
from stages.data import fetch, sources, sqlsource
from stages.errors import ConfigError, DataError, InfraError

COLUMNS = {"x": {"type": "number", "nullable": True}, "y": {"type": "number"}}
CSV = "x,y\n" + "".join(f"{i},{i}\n" for i in range(10))


def located(repository, **options):
    project = repository.project(COLUMNS, **options)
    return sources.locate(project, project.work / "cache")


@pytest.fixture
def refused(repository):
    def ask(kind=DataError, **options):
        with pytest.raises(kind) as error:
            located(repository, **options)
        assert "\n" not in error.value.what
        return error.value

    return ask


# ---- files -------------------------------------------------------------------------------------------------------


def test_paths_and_globs(repository):
    repository.write("a/2.csv", CSV)
    repository.write("a/10.csv", CSV)
    repository.write("a/deep/3.csv", CSV)
    repository.write("[odd].csv", CSV)
    assert list(located(repository, source="a/*.csv").files) == ["a/10.csv", "a/2.csv"]
    assert list(located(repository, source="a/**/*.csv").files) == ["a/10.csv", "a/2.csv", "a/deep/3.csv"]
    assert list(located(repository, source="[odd].csv").files) == ["[odd].csv"]
    assert list(located(repository, source=f"file://{repository.root}/a/2.csv").files) == ["a/2.csv"]
    assert located(repository, source="a/2.csv").digests["a/2.csv"]["size"] == len(CSV)


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ({"source": "datta.csv"}, "DAT_SOURCE_MISSING", "did you mean data.csv?"),
        ({"source": "nowhere/data.csv"}, "DAT_SOURCE_MISSING", "nowhere/"),
        ({"source": "*.parquet"}, "DAT_SOURCE_MISSING", "no file matches"),
        ({"source": "folder"}, "DAT_SOURCE_MISSING", "is a folder"),
        ({"source": "data.xlsx"}, "DAT_FORMAT", "data.xlsx"),
        ({"source": "data.*"}, "DAT_FORMAT", "data.xlsx"),
        ({"source": "mixed/*"}, "DAT_FORMAT", "csv, jsonl"),
        ({"source": "gs://bucket/data.csv"}, "DAT_SOURCE", "gs:// is not known"),
        ({"source": "s3://bucket", "format": "csv"}, "DAT_SOURCE", "names no object"),
        ({"source": "file://elsewhere/data.csv"}, "DAT_SOURCE", "this machine"),
        ({"source": "http://[broken/data.csv"}, "DAT_SOURCE", "no valid address"),
    ],
)
def test_wrong_sources(repository, refused, options, code, said):
    for name in ("data.csv", "data.xlsx", "folder/x.csv", "mixed/a.csv", "mixed/b.jsonl"):
        repository.write(name, CSV)
    error = refused(**options)
    assert (error.code, said in error.what) == (code, True), error.what


def test_a_format_may_be_given(repository):
    repository.write("data.txt", CSV)
    assert repository.prepare(COLUMNS, source="data.txt", format="csv").profile["rows"]["read"] == 10


@pytest.mark.parametrize("declared", ["parquet", "jsonl"])
def test_a_file_of_another_format(repository, declared):
    repository.write("data.csv", CSV)
    with pytest.raises(DataError) as error:
        repository.prepare(COLUMNS, format=declared)
    assert error.value.code == ("DAT_FORMAT" if declared == "parquet" else "DAT_COLUMN_MISSING")
    repository.write("data.jsonl", "\n[\n" + '{"x": 1, "y": 1}]')
    with pytest.raises(DataError, match="JSON array"):
        repository.prepare(COLUMNS, source="data.jsonl")


# ---- HTTP --------------------------------------------------------------------------------------------------------


class _Server(http.server.ThreadingHTTPServer):
    answers: tuple[tuple[int, bytes, dict[str, str]], ...]
    seen: list[tuple[str, str | None]]


class _Handler(http.server.BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self):
        server = self.server
        server.seen.append((self.path, self.headers.get("Authorization")))
        status, body, headers = server.answers[min(len(server.seen), len(server.answers)) - 1]
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@contextmanager
def serving(*answers):
    """A server on this machine that gives (status, body, headers) in turn, the last one for ever."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.answers, server.seen = answers, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server, f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr(fetch, "PAUSES", (0.0, 0.0))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # off where an earlier test ran the command line in this process
    monkeypatch.setattr(logging.getLogger("mlci"), "propagate", True)


def test_a_file_is_fetched_and_compared_by_digest(repository, at_once):
    new = CSV + "10,10\n"
    with serving((200, CSV.encode(), {}), (200, CSV.encode(), {}), (200, new.encode(), {})) as (server, address):
        source = f"http://user:s%20cret@{address}/data/set.csv?token=t0ken"
        assert repository.prepare(COLUMNS, source=source).result.status == "done"
        assert repository.prepare(COLUMNS, source=source).result.status == "skipped"
        third = repository.prepare(COLUMNS, source=source)
        assert third.profile["rows"]["read"] == 11
        assert repository.prepare(COLUMNS, source=source, refresh="never").profile["rows"]["read"] == 11
        assert server.seen == [("/data/set.csv?token=t0ken", "Basic dXNlcjpzIGNyZXQ=")] * 3
    written = "".join(p.read_text() for p in third.folder.glob("*.json"))
    assert f"http://{address}/data/set.csv?…" in written
    assert "s%20cret" not in (third.folder / "profile.json").read_text()
    assert "t0ken" not in (third.folder / "profile.json").read_text()


def test_redirects_are_followed_without_the_password(repository, at_once):
    with (
        serving((200, CSV.encode(), {})) as (there, address),
        serving((302, b"", {"Location": f"http://{address}/x.csv"})) as (_, first),
    ):
        assert list(located(repository, source=f"http://u:p@{first}/data.csv").files) == [f"http://{first}/data.csv"]
        assert there.seen == [("/x.csv", None)]


@pytest.mark.parametrize(
    ("answers", "kind", "code", "said", "asked"),
    [
        ([(404, b"", {})], DataError, "DAT_SOURCE", "404 Not Found", 1),
        ([(403, b"", {})], DataError, "DAT_SOURCE", "403 Forbidden", 1),
        ([(302, b"", {"Location": "/data.csv"})], DataError, "DAT_SOURCE", "leads nowhere", None),
        ([(302, b"", {"Location": "file:///etc/passwd"})], DataError, "DAT_SOURCE", "leads nowhere", 1),
        ([(503, b"", {})], InfraError, "DAT_NETWORK", "503", 3),
        ([(200, b"x,y\n1", {"Content-Length": "999"})], InfraError, "DAT_NETWORK", "after 5 of 999 bytes", 3),
    ],
)
def test_servers_that_do_not_give_the_file(repository, refused, at_once, answers, kind, code, said, asked, caplog):
    with serving(*answers) as (server, address):
        error = refused(kind, source=f"http://me:pa55word@{address}/data.csv?key=k3y")
        assert (error.code, said in error.what) == (code, True), error.what
        assert "pa55" not in error.what + error.todo
        assert "k3y" not in error.what + error.todo
        if asked == 3:  # what is said of an attempt is what is said of the last one
            assert [r.getMessage() for r in caplog.records] == [f"{error.what}; trying again in 0 s"] * 2
            assert error.what.count(address) == 1
        assert asked in (None, len(server.seen))
    assert not list((repository.root / ".mlci").rglob("*.part"))


def test_a_server_that_recovers(repository, at_once):
    with serving((500, b"", {}), (200, CSV.encode(), {})) as (_, address):
        assert located(repository, source=f"http://{address}/data.csv").files


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/v0/b/bucket/o/folder%2Fd.csv?alt=media", "d.csv"),
        ("/..%2F..%2F..%2Fescaped.csv", "escaped.csv"),
        ("/a%5C..%5Cd.csv", "d.csv"),
        ("/d%00%0a%1b.csv", "d.csv"),
        ("/" + "é" * 300 + ".csv", None),
        ("/with a space.csv?q=a b", "with a space.csv"),
    ],
)
def test_a_name_from_a_url_stays_in_the_cache(repository, at_once, path, name):
    with serving((200, CSV.encode(), {})) as (_, address):
        (file,) = located(repository, source=f"http://{address}{path}").files.values()
    assert file.read_text() == CSV
    assert file.parent.parent == repository.root / ".mlci" / "cache"
    assert name is None or file.name == name
    assert {p.name for p in repository.root.rglob("*.csv")} == {file.name}


@pytest.mark.parametrize("path", ["/%2e%2e", "/..%2F", "/%2F", "/%00", "/"])
def test_a_url_without_a_name(repository, at_once, path):
    with serving((200, CSV.encode(), {})) as (_, address):
        (file,) = located(repository, source=f"http://{address}{path}", format="csv").files.values()
    assert file.name == "data"


def parquet():
    sink = io.BytesIO()
    pd.DataFrame({"x": [float(i) for i in range(10)], "y": [float(i) for i in range(10)]}).to_parquet(sink)
    return sink.getvalue()


JSON = "".join(f'{{"x": {i}, "y": {i}}}\n' for i in range(10)).encode()


@pytest.mark.parametrize(
    ("name", "body", "encoding"),
    [
        ("d.csv", gzip.compress(CSV.encode()), "gzip"),
        ("d.csv", gzip.compress(CSV.encode()[:9]) + gzip.compress(CSV.encode()[9:]), "x-gzip"),
        ("d.csv", zlib.compress(CSV.encode()), "deflate"),
        ("d.csv", CSV.encode(), "gzip"),  # said of what a proxy has unpacked
        ("d.csv", CSV.encode(), "identity"),
        ("d.csv.gz", CSV.encode(), None),
        ("d.csv.gz", gzip.compress(CSV.encode()), "gzip"),
        ("d.csv.gz", gzip.compress(gzip.compress(CSV.encode())), "gzip"),
        ("d.csv.zip", CSV.encode(), None),
        ("d.jsonl", gzip.compress(JSON), "gzip"),
        ("d.jsonl", gzip.compress(JSON), None),
        ("d.jsonl.gz", JSON, None),
        ("d.parquet", gzip.compress(parquet()), "gzip"),
    ],
)
def test_packed_on_the_way_or_unpacked(repository, at_once, name, body, encoding):
    headers = {} if encoding is None else {"Content-Encoding": encoding}
    with serving((200, body, headers)) as (_, address):
        assert repository.prepare(COLUMNS, source=f"http://{address}/{name}").profile["rows"]["accepted"] == 10


@pytest.mark.parametrize(
    ("body", "headers", "kind", "code", "said"),
    [
        (gzip.compress(CSV.encode() * 99)[:-20], {"Content-Encoding": "gzip"}, InfraError, "DAT_NETWORK", "within"),
        (b"\x1f\x8b no gzip", {"Content-Encoding": "gzip"}, InfraError, "DAT_NETWORK", "damaged"),
        (b"?", {"Content-Encoding": "br"}, DataError, "DAT_SOURCE", "Content-Encoding 'br'"),
        (b"\xef\xbb\xbf \n<HTML><body>Log in", {}, DataError, "DAT_SOURCE", "HTML page"),
    ],
)
def test_content_that_is_not_the_file(repository, refused, at_once, body, headers, kind, code, said):
    with serving((200, CSV.encode(), {})) as (server, address):
        located(repository, source=f"http://{address}/d.csv")
        server.answers = ((200, body, headers),)
        error = refused(kind, source=f"http://{address}/d.csv")
    assert (error.code, said in error.what) == (code, True), error.what
    kept = [p for p in (repository.root / ".mlci" / "cache").rglob("*") if p.is_file()]
    assert [p.read_text() for p in kept] == [CSV]


# ---- what is no data ---------------------------------------------------------------------------------------------

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 12345\n"


@pytest.mark.parametrize("name", ["d.csv", "d.csv.gz", "d.csv.zip", "d.parquet", "d.jsonl", "d.ndjson.gz"])
def test_a_git_lfs_pointer_is_named(repository, name):
    from stages.commands.init import init
    from stages.data.scoring import read_for_scoring

    path = repository.write(name, POINTER)
    signature = {"features": [{"name": "x", "type": "number"}]}
    for read in (
        lambda: repository.prepare(COLUMNS, source=name),
        lambda: repository.prepare(COLUMNS, source=f"*{name[1:]}"),
        lambda: list(read_for_scoring(path, signature, ReadOptions())),
        lambda: init(path, "y", str(repository.root / "new" / "ml.yaml"), "jenkins", False),
    ):
        with pytest.raises(DataError) as error:
            read()
        assert error.value.code == "DAT_FORMAT"
        assert f"{name}: is a Git LFS pointer" in error.value.what
        assert "git lfs pull" in error.value.todo


def test_a_git_lfs_pointer_among_files(repository):
    repository.write("a.csv", CSV)
    repository.write("b.csv", POINTER)
    with pytest.raises(DataError, match=r"b\.csv: is a Git LFS pointer"):
        repository.prepare(COLUMNS, source="*.csv")


def test_no_server(repository, refused, at_once):
    with serving((200, b"", {})) as (_, address):
        pass
    assert refused(InfraError, source=f"http://{address}/data.csv").code == "DAT_NETWORK"


# ---- folders that hold values ------------------------------------------------------------------------------------

FOLDERS = COLUMNS | {"year": {"type": "integer"}, "month": {"type": "category"}, "x": {"type": "number"}}


def part(name, start):
    rows = [{"x": float(i), "y": float(i)} for i in range(start, start + 5)]
    if name.endswith("parquet"):
        sink = io.BytesIO()
        pd.DataFrame(rows).to_parquet(sink)
        return sink.getvalue()
    if name.endswith("jsonl"):
        return pd.DataFrame(rows).to_json(orient="records", lines=True)
    return pd.DataFrame(rows).to_csv(index=False)


@pytest.mark.parametrize("suffix", ["csv", "parquet", "jsonl"])
def test_partitions_are_columns(repository, suffix):
    for i, month in enumerate(("01", "02", "a%20b")):
        name = f"data/year={2023 + i % 2}/month={month}/part-0.{suffix}"
        repository.write(name, part(name, 5 * i))
    repository.write("data/_SUCCESS", "")
    done = repository.prepare(FOLDERS, source=f"data/**/*.{suffix}")
    assert done.rows("year", "month", "x")[0] == (2023, "01", 0.0)
    assert {row[:2] for row in done.rows("year", "month", "x")} == {(2023, "01"), (2024, "02"), (2023, "a b")}
    assert repository.prepare(FOLDERS, source=f"data/year=2024/*/*.{suffix}").rows("year") == [(2024,)] * 5
    dropped = repository.prepare(COLUMNS, source=f"data/**/*.{suffix}").profile["dropped_columns"]["names"]
    assert dropped == ["year", "month"]
    with pytest.raises(DataError, match="is a folder") as error:
        located(repository, source="data")
    assert f"data/**/*.{suffix}" in error.value.todo


def test_partitions_in_a_transform_and_in_a_file_to_be_scored(repository):
    from stages.data.scoring import read_for_scoring

    for year in (2023, "__HIVE_DEFAULT_PARTITION__"):
        repository.write(f"data/year={year}/a.csv", CSV)
    repository.write("mine.py", "def f(frame):\n    return frame.assign(since=frame['year'] - 2000)\n")
    columns = COLUMNS | {"since": {"type": "number", "nullable": True}}
    done = repository.prepare(columns, source="data/*/*.csv", transform="mine:f")
    assert {row[0] for row in done.rows("since")} == {23.0, None}
    signature = {"features": [{"name": "x", "type": "number"}, {"name": "year", "type": "integer"}]}
    (rows,) = read_for_scoring(repository.root / "data" / "year=2023" / "a.csv", signature, ReadOptions())
    assert rows.table.column("year").to_pylist() == [2023] * 10


def test_a_column_of_the_file_counts_more_than_its_folder(repository):
    repository.write("data/x=7/a.csv", CSV)
    assert repository.prepare(COLUMNS, source="data/*/a.csv").rows("x")[-1] == (9.0,)


def test_folders_of_other_names_are_refused(repository):
    repository.write("data/year=2023/a.csv", CSV)
    repository.write("data/month=1/a.csv", CSV)
    with pytest.raises(DataError, match="its folders give") as error:
        repository.prepare(COLUMNS, source="data/*/*.csv")
    assert error.value.code == "DAT_HEADER"


# ---- SQL ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def database(repository):
    with sqlite3.connect(repository.root / "rows.db") as connection:
        connection.execute("create table t (x, y real, name text, odd)")
        rows = [(None, float(i), f"n{i}", i if i % 2 else f"text {i}") for i in range(30)]
        connection.executemany("insert into t values (?, ?, ?, ?)", [*rows[:25], *((1.5, *r[1:]) for r in rows[25:])])
    connection.close()
    return {"sql": "select * from t order by y", "url": "sqlite:///rows.db"}


def test_rows_of_a_query(repository, database, monkeypatch):
    monkeypatch.setattr(sqlsource, "ROWS", 10)  # a column of nulls, then numbers: parts disagree
    columns = COLUMNS | {"name": {"type": "category"}, "odd": {"type": "category"}}
    done = repository.prepare(columns, source=database)
    assert done.profile["rows"]["accepted"] == 30
    assert done.rows("y", "x", "odd")[-1] == (9.0, None, "9")
    assert done.profile["source"]["kind"] == "sql"
    assert repository.prepare(columns, source=database).result.status == "skipped"
    with sqlite3.connect(repository.root / "rows.db") as connection:
        connection.execute("update t set y = 99 where y = 0")
    connection.close()
    assert repository.prepare(columns, source=database).result.status == "done"


@pytest.mark.parametrize(
    ("change", "kind", "code", "said"),
    [
        ({"sql": "select absent from t"}, DataError, "DAT_SOURCE", "no such column"),
        ({"sql": "selec"}, DataError, "DAT_SOURCE", "syntax error"),
        ({"sql": "update t set y = 1"}, DataError, "DAT_SOURCE", "gives no rows"),
        ({"sql": "select y, y from t"}, DataError, "DAT_HEADER", "y more than once"),
        ({"sql": "select * from t where y < 0"}, DataError, "DAT_EMPTY", "no row"),
        ({"url": "sqlite:///nowhere.db"}, DataError, "DAT_SOURCE_MISSING", "nowhere.db"),
        ({"url": "no address at all"}, DataError, "DAT_SOURCE", "no address"),
        ({"url": "dialect://me:pa55word@host/x"}, DataError, "DAT_SOURCE", "dialect"),
        ({"url": "mssql+pymssql://me:pa55word@host/x"}, DataError, "DAT_SOURCE", "pymssql"),
    ],
)
def test_queries_and_data_bases_that_fail(repository, refused, database, change, kind, code, said):
    error = refused(kind, source=database | change)
    assert (error.code, said in error.what) == (code, True), error.what
    assert "pa55" not in error.what + error.todo


def test_a_query_leaves_the_data_base_alone(repository, refused, database):
    refused(source=database | {"sql": "delete from t"})
    with sqlite3.connect(repository.root / "rows.db") as connection:
        assert connection.execute("select count(*) from t").fetchone() == (30,)
    connection.close()


# ---- Python ------------------------------------------------------------------------------------------------------

MODULE = """
import pandas as pd
import pyarrow as pa

def frame():
    return pd.DataFrame({"x": [1, None, 3.5, 4], "y": [1, 2, 3, 4], "when": pd.to_datetime(["2024-01-01"] * 4)})

def parts():
    yield pd.DataFrame({"x": [None, None], "y": [1, 2]})
    yield pd.DataFrame({"x": ["3", 4], "y": [3, 4.5]})

def fails():
    raise RuntimeError("no connection to\\nthe source")

def text():
    return "x,y"

def empty():
    return iter([])

def objects():
    return pd.DataFrame({"x": [object(), object()], "y": [1, 2]})

def differing():
    yield pd.DataFrame({"x": [1], "y": [1]})
    yield pd.DataFrame({"x": [1]})

def odd():
    base = {"x": [1.0, 2.0, 3.0, 4.0], "y": [1, 2, 3, 4]}
    yield pd.DataFrame(base | {
        "interval": pd.cut(pd.Series([1, 2, 3, 4]), [0, 2, 4]),
        "intervals": pd.arrays.IntervalArray.from_breaks([0, 1, 2, 3, 4]),
        "period": pd.period_range("2024-01", periods=4, freq="M"),
        "objects": [pd.Period("2024"), None, "text", pd.Interval(0, 1)],
        "nested": [{"a": 1}, [2], {3}, object()],
        "structs": [{"a": 1}] * 4,
        "duration": pd.to_timedelta([1, 2, 3, 4], unit="D"),
        "arrow": pd.array([[1], [2], [3], None], dtype=pd.ArrowDtype(pa.list_(pa.int64()))),
        "complex": [1j, 2j, 3j, 4j],
        "sparse": pd.arrays.SparseArray([0, 0, 1, 0]),
        "category": pd.Categorical(["a", None, "b", "a"]),
        "levels": pd.Categorical([1, 2, 1, 2]),
        "strings": pd.array(["a", None, "b", "c"], dtype="string[pyarrow]"),
        "Int": pd.array([1, None, 3, 4], dtype="Int64"),
        "flag": pd.array([True, None, False, True], dtype="boolean"),
    })
    yield pd.DataFrame(base).assign(x=[5.0, 6.0, 7.0, 8.0], **dict.fromkeys(ODD))

ODD = ["interval", "intervals", "period", "objects", "nested", "structs", "duration", "arrow", "complex", "sparse",
       "category", "levels", "strings", "Int", "flag"]

def grouped():
    return pd.DataFrame({"x": [1, 1, 2], "y": [1, 2, 3]}).groupby("x").sum()
"""


def test_frames_of_a_function(repository):
    repository.write("rows.py", MODULE)
    assert repository.prepare(COLUMNS, source="python:rows:frame").rows() == [(1, 1), (3.5, 3), (4, 4), (None, 2)]
    assert repository.prepare(COLUMNS, source="python:rows:frame").result.status == "skipped"
    assert repository.prepare(COLUMNS, source="python:rows:parts").rows() == [(3, 3), (4, 4.5), (None, 1), (None, 2)]
    assert repository.prepare(COLUMNS, source="python:rows:grouped").rows() == [(1, 3), (2, 3)]  # the index has a name


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("fails", "DAT_SOURCE", "(rows.py:13): RuntimeError: no connection to"),
        ("text", "DAT_SOURCE", "gave str"),
        ("empty", "DAT_EMPTY", "no row"),
        ("objects", "DAT_SOURCE", "'x' holds object objects"),
        ("differing", "DAT_HEADER", "later part"),
    ],
)
def test_functions_that_give_no_frames(repository, refused, name, code, said):
    repository.write("rows.py", MODULE)
    error = refused(source=f"python:rows:{name}")
    assert (error.code, said in error.what) == (code, True), error.what


def test_frames_with_columns_of_every_kind(repository, at_once, caplog):
    repository.write("rows.py", MODULE)
    assert len(repository.prepare(COLUMNS, source="python:rows:odd").rows()) == 8
    left = [r.getMessage() for r in caplog.records if "left out" in r.getMessage()]
    assert [message.split("'")[1] for message in left] == ["nested", "complex"]
    kinds = dict.fromkeys(("interval", "intervals", "period", "objects"), "category") | {"sparse": "integer"}
    kinds |= dict.fromkeys(("category", "levels", "strings"), "category") | {"Int": "integer", "flag": "boolean"}
    listed = COLUMNS | {name: {"type": kind, "nullable": True} for name, kind in kinds.items()}
    first = repository.prepare(listed, source="python:rows:odd").rows("x", *kinds)[0]
    assert first == (1.0, "(0, 2]", "(0, 1]", "2024-01", "2024", 0, "a", "1", "a", 1, True)


@pytest.mark.parametrize("name", ["nested", "structs", "duration", "arrow", "complex"])
def test_listed_columns_that_no_type_takes_are_refused_by_name(repository, name):
    repository.write("rows.py", MODULE)
    columns = COLUMNS | {name: {"type": "category", "nullable": True}}
    with pytest.raises(DataError) as error:
        repository.prepare(columns, source="python:rows:odd")
    assert name in error.value.what
    assert error.value.code in ("DAT_SOURCE", "DAT_TOO_MANY_BAD")


def test_a_function_that_is_not_there(repository, refused):
    repository.write("rows.py", MODULE)
    assert refused(ConfigError, source="python:rows:fram").code == "CFG_IMPORT"


def test_the_same_rows_give_the_same_snapshot(repository):
    repository.write("rows.py", MODULE)
    first = located(repository, source="python:rows:parts").digests
    assert located(repository, source="python:rows:parts").digests == first
    path = next(iter(located(repository, source="python:rows:parts").files.values()))
    assert (
        pq.read_table(path)
        .to_pandas()
        .equals(pd.DataFrame({"x": [None, None, "3", "4"], "y": [1, 2, 3, 4.5]}, dtype=None).astype({"x": "str"}))
    )
