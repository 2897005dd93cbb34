"""CSV files as they come: encodings, quotes, ragged rows, long lines; in chunks of any size."""

import gzip
import io
import zipfile

import pytest

from stages.config.schema import ReadOptions
from stages.data import csvfile
from stages.errors import DataError

NASTY = (
    'id,name,note\r\n1,plain,x\r\n2,"a, b","two\r\nlines"\r\n\r\n3,"say ""hi""",\r\n'
    '4,short\r\n5,too,many,cells\r\n6,NA,"NA"\r\n'
    '7,5" pipe,é€\r\n8, padded ,"' + "long " * 300 + '"\r\n9,last,no line end'
)


def read(path, columns=None, size=csvfile.SIZE, **options):
    """Rows as dicts by number, and lost rows."""
    rows: dict[int, dict[str, str | None]] = {}
    lost: dict[int, str | None] = {}
    cells = []
    for chunk in csvfile.chunks(path, path.name, ReadOptions(**options), columns, size):
        for place, number in enumerate(chunk.rows.tolist()):
            rows[number] = {name: array[place].as_py() for name, array in chunk.columns.items()}
        for one in chunk.lost:
            lost |= dict(zip(one.rows.tolist(), one.values, strict=True))
        for one in chunk.cells:
            cells += [(int(chunk.rows[at]), one.column, one.code) for at in one.rows]
    return rows, lost, cells


@pytest.fixture
def file(tmp_path):
    def write(content: bytes, name="data.csv"):
        path = tmp_path / name
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("size", [16, 50, 700, 1 << 22])
def test_nasty_lines_in_chunks_of_any_size(file, size):
    rows, lost, _ = read(file(NASTY.encode()), size=size)
    assert {n: r["name"] for n, r in rows.items()} == {
        1: "plain", 2: "a, b", 3: 'say "hi"', 6: None, 7: '5" pipe', 8: " padded ", 9: "last"
    }  # fmt: skip
    assert rows[2]["note"] == "two\r\nlines"
    assert rows[3]["note"] is None
    assert rows[6]["note"] is None
    assert rows[8]["note"] == "long " * 300
    assert lost == {4: "4,short", 5: "5,too,many,cells"}


@pytest.mark.parametrize(
    ("encoding", "declared"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("utf-8-sig", "utf-8-sig"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
        ("cp1252", "cp1252"),
        ("cp1252", "windows-1252"),
    ],
)
@pytest.mark.parametrize("size", [64, 1 << 22])
def test_encodings(file, encoding, declared, size):
    rows, lost, _ = read(file(NASTY.encode(encoding)), size=size, encoding=declared)
    assert list(rows[1]) == ["id", "name", "note"]
    assert rows[7]["note"] == "é€"
    assert len(lost) == 2


@pytest.mark.parametrize("pack", ["gz", "zip", "two gzip members"])
def test_packed_files(file, tmp_path, pack):
    content = NASTY.encode()
    if pack == "zip":
        path = tmp_path / "data.csv.zip"
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inside/data.csv", content)
            archive.writestr("__MACOSX/data.csv", b"resource fork")
    else:
        parts = [content] if pack == "gz" else [content[:30], content[30:]]
        path = file(b"".join(map(gzip.compress, parts)), "data.csv.gz")
    assert read(path) == read(file(content))


@pytest.mark.parametrize("name", ["data.csv", "data.csv.gz", "data.csv.zip"])
@pytest.mark.parametrize("pack", ["plain", "gz", "zip"])
def test_first_bytes_say_how_a_file_is_packed(file, name, pack):
    content = NASTY.encode()
    if pack == "zip":
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("data.csv", content)
        content = packed.getvalue()
    elif pack == "gz":
        content = gzip.compress(content)
    assert read(file(content, name)) == read(file(NASTY.encode(), "plain.csv"))


def test_a_long_header_above_an_undecodable_cell(file):
    rows, _, cells = read(file(b"number,name\n1,x\n2,\xe9\n"))
    assert list(rows[1]) == ["number", "name"]
    assert cells == [(2, "name", "DAT_TEXT")]


def test_undecodable_cells_are_refused_one_by_one_from_where_they_stand(file):
    content = b"a,b\nx,1\n\xff\xfe,2\ny,3\n\xe9,4,5\n" + "é,6\n".encode()
    for size in (8, 1 << 22):
        rows, lost, cells = read(file(content), size=size)
        assert cells == [(2, "a", "DAT_TEXT")]
        assert [r["a"] for r in rows.values()] == ["x", None, "y", "é"]
        assert list(lost) == [4]
    _, _, cells = read(file(b"a,b\nx,1\n\x81,2\n"), encoding="cp1252")
    assert cells == [(2, "a", "DAT_TEXT")]


def test_separators_missing_values_and_single_columns(file):
    rows, _, _ = read(file(b"a;b\n1,5;-999\n"), sep=";", decimal=",", na_values=[-999])
    assert rows == {1: {"a": "1,5", "b": None}}
    assert read(file(b"a\n1\n\n2\n"))[0] == {1: {"a": "1"}, 2: {"a": "2"}}
    assert read(file(b"\n\na,b\n1,2\n"))[0] == {1: {"a": "1", "b": "2"}}
    assert read(file(b"a\tb\n1\t2"), sep="\t")[0] == {1: {"a": "1", "b": "2"}}
    assert read(file(b"a,b\r1,2\r3,4\r"))[0] == {1: {"a": "1", "b": "2"}, 2: {"a": "3", "b": "4"}}
    assert read(file(b"a,,\n1,2,3\n"))[0] == {1: {"a": "1"}}


@pytest.mark.parametrize("line", ["sep=;\n", "sep=;\r\n", '"sep=;"\n', "SEP=;\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("size", [8, 1 << 22])
def test_a_line_for_excel_names_the_separator(file, line, encoding, size):
    content = (line + 'a;b\n1;x\n2\n3;y,z\n4;"sep=,"\n').encode(encoding)
    rows, lost, _ = read(file(content), size=size, encoding=encoding)
    assert rows == {1: {"a": "1", "b": "x"}, 3: {"a": "3", "b": "y,z"}, 4: {"a": "4", "b": "sep=,"}}
    assert lost == {2: "2"}


ESCAPED = rb"""a,b
1,"C:\data\"
2,say \"hi\"
3,"a \"b\" c"
"""


@pytest.mark.parametrize("size", [8, 1 << 22])
def test_quotes_behind_a_backslash_are_refused_or_read(file, size):
    with pytest.raises(DataError, match="row 3 escapes quotes with a backslash: 3,") as error:
        read(file(ESCAPED), ["a", "b"], size=size)
    assert error.value.code == "DAT_FORMAT"
    assert 'escape: "\\\\"' in error.value.todo
    escaped = ESCAPED.replace(rb'"C:\data\"', rb'"C:\\data\\"')
    rows, _, _ = read(file(escaped), ["a", "b"], size=size, escape="\\")
    assert [row["b"] for row in rows.values()] == ["C:\\data\\", 'say "hi"', 'a "b" c']


@pytest.mark.parametrize("size", [8, 1 << 22])
def test_quotes_behind_a_backslash_that_cut_every_row(file, size):
    content = b'a,b\n1,"x \\"q\\", z"\n2,"y \\"q\\", z"\n'
    with pytest.raises(DataError, match="row 1 escapes quotes with a backslash: 1,"):
        read(file(content), ["a", "b"], size=size)
    rows, _, _ = read(file(content), ["a", "b"], size=size, escape="\\")
    assert [row["b"] for row in rows.values()] == ['x "q", z', 'y "q", z']


def test_a_backslash_is_a_character(file):
    rows, lost, _ = read(
        file(rb"""a,b
1,"C:\data\"
2,say \"hi\"
3,"both \""x\"""
4,"two
lines\"
"""),
        ["a", "b"],
    )
    assert [row["b"] for row in rows.values()] == ["C:\\data\\", 'say \\"hi\\"', 'both \\"x\\"', "two\nlines\\"]
    assert not lost


def test_only_wanted_columns_are_made(file):
    assert read(file(b"a,b,c\n1,2,3\n"), ["c", "a", "not there"])[0] == {1: {"c": "3", "a": "1"}}


def test_header_only_is_no_row(file):
    assert read(file(b"a,b\n")) == ({}, {}, [])
    assert read(file(b"a,b")) == ({}, {}, [])
    assert read(file(b"a,b\n1\n2,3,4\n"))[1] == {1: "1", 2: "2,3,4"}


def workbook():
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        for name in ("[Content_Types].xml", "xl/workbook.xml"):
            archive.writestr(name, "<x/>")
    return packed.getvalue()


@pytest.mark.parametrize(
    ("content", "code", "said"),
    [
        (b"", "DAT_EMPTY", "empty"),
        (b"\n\n", "DAT_EMPTY", "blank"),
        (b"a,b,a\n1,2,3\n", "DAT_HEADER", "'a'"),
        ("a,b\n1,2\n".encode("utf-16"), "DAT_ENCODING", "UTF-16"),
        ("a,b\n1,2\n".encode("utf-16-le"), "DAT_ENCODING", "NUL"),
        (b"\xe9,b\n1,2\n", "DAT_ENCODING", "utf-8"),
        (gzip.compress(gzip.compress(b"a,b\n1,2\n")), "DAT_FORMAT", "is a gzip file"),
        (b"PK\x03\x04 and so on", "DAT_FORMAT", "damaged archive"),
        (workbook(), "DAT_FORMAT", "Excel"),
        (b"PAR1 and so on", "DAT_FORMAT", "Parquet"),
        (b"\xfd7zXZ\0 and so on", "DAT_FORMAT", "xz"),
        (b"\xd0\xcf\x11\xe0 and so on", "DAT_FORMAT", "Excel"),
        (b"\n<!DOCTYPE html><title>Log in</title>", "DAT_FORMAT", "HTML page"),
        (b'a,b\n1,"x\n2,y\n3,z\n', "DAT_FORMAT", "row 1 is never closed"),
        (b'a,b\n1,2\n3,"x,y\n3,z\n', "DAT_FORMAT", "row 2 is never closed"),
    ],
)
def test_refused_files(file, content, code, said):
    with pytest.raises(DataError) as error:
        read(file(content), ["a"])
    assert error.value.code == code
    assert said in error.value.what


@pytest.mark.parametrize("name", ["data.csv.gz", "data.csv.zip"])
def test_damaged_archives(file, name):
    packed = io.BytesIO()
    if name.endswith("gz"):
        packed.write(gzip.compress(b"a,b\n" + b"1,2\n" * 10000)[:-20])
    else:
        packed.write(b"PK\x03\x04, and no directory")
    with pytest.raises(DataError) as error:
        read(file(packed.getvalue(), name))
    assert error.value.code == "DAT_FORMAT"


def test_a_zip_holds_one_file(tmp_path):
    with zipfile.ZipFile(tmp_path / "two.csv.zip", "w") as archive:
        archive.writestr("a.csv", "a\n1\n")
        archive.writestr("b.csv", "a\n1\n")
    with pytest.raises(DataError, match="holds 2 files"):
        read(tmp_path / "two.csv.zip")


def test_a_thousand_columns(file):
    names = [f"c{i}" for i in range(1000)]
    content = ",".join(names) + "\n" + "\n".join(",".join(str(r * 1000 + i) for i in range(1000)) for r in range(50))
    rows, lost, _ = read(file(content.encode()), names[::-1], size=100_000)
    assert not lost
    assert rows[50]["c7"] == "49007"
    assert list(rows[1]) == names[::-1]
