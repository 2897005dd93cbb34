"""SQL sources on a real PostgreSQL and a real MariaDB, with the usual drivers."""

import datetime as dt
import json
from contextlib import closing, contextmanager
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import yaml

from stages.config.schema import SqlSource
from stages.data import sqldrivers, sqlsource
from stages.errors import DataError, InfraError
from stages.prepare import prepare
from stages.project import Project
from tests.stages.databases.servers import PASSWORD

# Starting the servers does not count.
pytestmark = pytest.mark.timeout(180, func_only=True)

PSYCOPG = ["postgresql+psycopg", "postgresql+psycopg2"]
MARIA = "mariadb+pymysql"
UTC = dt.UTC


def rows(tmp_path, url, sql):
    path = sqlsource.snapshot(SqlSource(sql=sql, url=url), tmp_path, tmp_path / "cache", reuse=False)
    return pq.read_table(path)


def one(tmp_path, url, sql):
    (row,) = rows(tmp_path, url, sql).to_pylist()
    return row


def refused(tmp_path, url, sql, kind=DataError):
    with pytest.raises(kind) as error:
        rows(tmp_path, url, sql)
    assert not list((tmp_path / "cache").glob("*/*")), "something half-written is left"
    return error.value


# ---- the text of a query -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_text_of_a_query_on_postgresql(tmp_path, postgres, dialect):
    sql = "SELECT 'a%b' AS x, ':name' AS y, '7'::int % 4 AS z /* 50% */ WHERE 'item-1' LIKE 'item%'"
    assert one(tmp_path, postgres.url(dialect), sql) == {"x": "a%b", "y": ":name", "z": 3}
    assert one(tmp_path, postgres.url(dialect), "SELECT 'a%%b' AS x") == {"x": "a%b"}  # as drivers wanted it


def test_text_of_a_query_on_mariadb(tmp_path, maria):
    sql = "SELECT DATE_FORMAT('2024-01-02', '%Y-%m') AS x, ':name' AS y, 7 % 4 AS z WHERE 'item-1' LIKE 'item%'"
    assert one(tmp_path, maria.url(MARIA), sql) == {"x": "2024-01", "y": ":name", "z": 3}
    assert one(tmp_path, maria.url(MARIA), "SELECT DATE_FORMAT('2024-01-02', '%%Y') AS x") == {"x": "2024"}


def test_percent_signs_of_other_drivers_stay():
    assert sqldrivers.statement("SELECT '%%'", "qmark") == "SELECT '%%'"
    assert sqldrivers.statement("SELECT '%%', '%'", "pyformat") == "SELECT '%%', '%'"


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_schemas_and_search_paths(tmp_path, postgres, dialect):
    postgres.execute(
        dialect,
        "DROP SCHEMA IF EXISTS sales CASCADE",
        "CREATE SCHEMA sales",
        "CREATE TABLE sales.orders AS SELECT 1 AS id",
    )
    assert one(tmp_path, postgres.url(dialect), "SELECT id FROM sales.orders") == {"id": 1}
    url = postgres.url(dialect, query="?options=-csearch_path%3Dsales")
    assert one(tmp_path, url, "SELECT id FROM orders;") == {"id": 1}


# ---- types -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_types_of_postgresql(tmp_path, postgres, dialect):
    sql = """
        SELECT 12.50::numeric(10, 2) AS price, 'NaN'::numeric AS nan, 9007199254740993::numeric AS wide,
          12345678901234567890123456789012345678::numeric(38, 0) AS wider, 9223372036854775807 AS big,
          '123e4567-e89b-12d3-a456-426655440000'::uuid AS uuid, ARRAY[1, 2] AS list, ARRAY['2024-01-01'::date] AS days,
          '{"b": [1, null], "a": "ö"}'::jsonb AS document, '10.0.0.1'::inet AS address, int4range(1, 5) AS range,
          '2024-07-01 12:00+02'::timestamptz AS zoned, '2024-07-01 12:00'::timestamp AS naive,
          '10:20'::time AS clock, interval '90 min' AS lasted, 'abc'::bytea AS bytes, true AS flag, NULL AS nothing
    """
    assert one(tmp_path, postgres.url(dialect), sql) == {
        "price": 12.5,
        "nan": None,
        "wide": 2**53 + 1,
        "wider": "12345678901234567890123456789012345678",
        "big": 2**63 - 1,
        "uuid": "123e4567-e89b-12d3-a456-426655440000",
        "list": "[1, 2]",
        "days": '["2024-01-01"]',
        "document": '{"a": "ö", "b": [1, null]}',
        "address": "10.0.0.1",
        "range": "[1, 5)",
        "zoned": dt.datetime(2024, 7, 1, 10, tzinfo=UTC),
        "naive": dt.datetime(2024, 7, 1, 12),  # noqa: DTZ001
        "clock": "10:20:00",
        "lasted": dt.timedelta(minutes=90),
        "bytes": b"abc",
        "flag": True,
        "nothing": None,
    }


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_an_enum_is_text(tmp_path, postgres, dialect):
    postgres.execute(dialect, "DROP TYPE IF EXISTS mood", "CREATE TYPE mood AS ENUM ('sad', 'ok')")
    assert one(tmp_path, postgres.url(dialect), "SELECT 'ok'::mood AS x") == {"x": "ok"}


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_ids_keep_their_digits_from_part_to_part(tmp_path, postgres, dialect, monkeypatch):
    monkeypatch.setattr(sqlsource, "ROWS", 2)
    values = [1, 2, 2**53 + 1, 2**53 + 3, 10**30 + 1]
    sql = f"SELECT * FROM (VALUES {', '.join(f'({v}::numeric)' for v in values)}) v(id)"
    table = rows(tmp_path, postgres.url(dialect), sql)
    assert [int(v) for v in table.column("id").to_pylist()] == values


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_dates_that_python_does_not_hold_are_refused_one_by_one(tmp_path, postgres, dialect):
    dates = ["2024-01-01", "infinity", "-infinity", "0044-03-15 BC", "12000-01-01", "9999-12-31"]
    values = ", ".join(f"({i}, '{d}'::timestamp, '{d}'::timestamptz, '{d}'::date)" for i, d in enumerate(dates))
    # more rows, so that the refused ones are few
    sql = f"SELECT * FROM (VALUES {values}) v(y, naive, zoned, day)"
    sql += " UNION ALL SELECT i, now()::timestamp, now(), now()::date FROM"
    sql += " generate_series(6, 60) i"
    columns = {
        "naive": {"type": "datetime"},
        "zoned": {"type": "datetime", "timezone": "UTC"},
        "day": {"type": "datetime"},
        "y": {"type": "number"},
    }
    folder = prepared(tmp_path, postgres.url(dialect), sql, columns)
    entries = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert {(e["row"], e["code"]) for e in entries} == {(row, "DAT_DATETIME") for row in (2, 3, 4, 5)}
    assert len(entries) == 12
    assert {e["value"] for e in entries if e["row"] == 2} == {"infinity"}


def test_types_of_mariadb(tmp_path, maria):
    maria.execute(
        MARIA,
        "SET sql_mode = ''",
        "DROP TABLE IF EXISTS kinds",
        "CREATE TABLE kinds (flag TINYINT(1), bit BIT(1), bits BIT(9), year YEAR, day DATE, moment DATETIME,"
        " wide BIGINT UNSIGNED, wider DECIMAL(38, 0), price DECIMAL(10, 2), kind ENUM('a', 'b'),"
        " blob_ BLOB, lasted TIME)",
        "INSERT INTO kinds VALUES (1, b'1', b'100000001', 2024, '2024-01-02', '2024-01-02 03:04:05',"
        " 18446744073709551615, 12345678901234567890123456789012345678, 1.50, 'a', 'abc', '25:00:00')",
    )
    assert one(tmp_path, maria.url(MARIA), "SELECT * FROM kinds") == {
        "flag": 1,
        "bit": 1,
        "bits": 257,
        "year": 2024,
        "day": dt.date(2024, 1, 2),
        "moment": dt.datetime(2024, 1, 2, 3, 4, 5),  # noqa: DTZ001
        "wide": "18446744073709551615",
        "wider": "12345678901234567890123456789012345678",
        "price": 1.5,
        "kind": "a",
        "blob_": b"abc",
        "lasted": dt.timedelta(hours=25),
    }


def test_zero_dates_of_mariadb_are_refused(tmp_path, maria):
    maria.execute(
        MARIA,
        "SET sql_mode = ''",
        "DROP TABLE IF EXISTS zero",
        "CREATE TABLE zero (d DATE, t DATETIME, y INT)",
        "INSERT INTO zero SELECT '2024-01-01', '2024-01-01 10:00:00', seq FROM seq_1_to_20",
        "INSERT INTO zero VALUES ('0000-00-00', '0000-00-00 00:00:00', 21)",
    )
    columns = {"d": {"type": "datetime"}, "t": {"type": "datetime"}, "y": {"type": "number"}}
    folder = prepared(tmp_path, maria.url(MARIA), "SELECT * FROM zero ORDER BY y", columns)
    entries = pq.read_table(folder / "quarantine.parquet").to_pylist()
    assert [(e["row"], e["column"], e["code"], e["value"]) for e in entries] == [
        (21, "d", "DAT_DATETIME", "0000-00-00"),
        (21, "t", "DAT_DATETIME", "0000-00-00 00:00:00"),
    ]


def prepared(tmp_path, url, sql, columns):
    """The folder of a prepare run over the query."""
    config = {
        "name": "model",
        "task": "regression",
        "data": {"source": {"sql": sql, "url": url}, "target": "y", "columns": columns, "max_bad_fraction": 0.2},
        "model": {"estimator": "sklearn.dummy.DummyRegressor"},
    }
    (tmp_path / "ml.yaml").write_text(yaml.safe_dump(config))
    project = Project.open(tmp_path / "ml.yaml")
    prepare(project)
    return project.folder("prepare")


# ---- streams, failures -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_rows_of_postgresql_are_streamed(tmp_path, postgres, dialect):
    """The server makes rows as they are fetched: the one that fails is only met after the ones before it."""
    sql = "SELECT 1 / (50001 - i) AS x FROM (SELECT generate_series(1, 1000000000) AS i) s"
    with parts(postgres.url(dialect), sql) as taken:
        assert next(taken).num_rows == sqlsource.ROWS
        assert next(taken).num_rows == sqlsource.ROWS
        with pytest.raises(DataError, match="division by zero"):
            list(taken)


def test_rows_of_mariadb_are_streamed(tmp_path, maria):
    """A thousand million rows would never all come."""
    running = "SELECT id FROM information_schema.processlist WHERE info LIKE '%%seq_1_to_1000000000' INTO @id"
    with parts(maria.url(MARIA), "SELECT seq AS x, REPEAT('x', 100) AS t FROM seq_1_to_1000000000") as taken:
        assert next(taken).num_rows == sqlsource.ROWS
        maria.execute(MARIA, running, "KILL @id")
        with pytest.raises(InfraError) as error:
            list(taken)
    assert (error.value.code, error.value.exit_code) == ("DAT_NETWORK", 5)


@contextmanager
def parts(url, sql):
    source = SqlSource(sql=sql, url=url)
    engine = sqlsource._engine(source, Path())
    with closing(sqlsource._tables(engine, source)) as taken:  # type: ignore[type-var]
        yield taken
    engine.dispose()


@pytest.mark.parametrize("dialect", PSYCOPG)
def test_a_connection_lost_in_the_middle(tmp_path, postgres, dialect):
    sql = "SELECT CASE i WHEN 50000 THEN pg_terminate_backend(pg_backend_pid())::int ELSE i END AS x"
    error = refused(tmp_path, postgres.url(dialect), sql + " FROM generate_series(1, 100000) i", InfraError)
    assert (error.code, error.exit_code) == ("DAT_NETWORK", 5)


@pytest.mark.parametrize("dialect", [*PSYCOPG, MARIA])
def test_a_wrong_password_is_not_shown(tmp_path, request, dialect):
    server = request.getfixturevalue("maria" if dialect == MARIA else "postgres")
    url = server.url(dialect, password="wr0ng w0rd", query="?application_name=t0ken"[: 0 if dialect == MARIA else None])
    error = refused(tmp_path, url, "SELECT 1 AS x", InfraError)
    assert error.code == "DAT_NETWORK"
    assert not any(word in str(error) for word in ("wr0ng", "w0rd", "t0ken", PASSWORD))
    assert "ml" in error.what


@pytest.mark.parametrize("dialect", [*PSYCOPG, MARIA])
def test_an_unknown_host(tmp_path, dialect):
    error = refused(tmp_path, f"{dialect}://ml:pw@no-such-host.invalid/db", "SELECT 1 AS x", InfraError)
    assert (error.code, "no-such-host.invalid" in error.what) == ("DAT_NETWORK", True)


@pytest.mark.parametrize(
    ("dialect", "module", "package"),
    [
        ("postgresql+psycopg", "psycopg", "psycopg[binary]"),
        ("postgresql+psycopg2", "psycopg2", "psycopg2-binary"),
        ("mysql+pymysql", "pymysql", "PyMySQL"),
        ("mysql", "MySQLdb", "mysqlclient"),
    ],
)
def test_a_missing_driver_is_named_with_its_package(tmp_path, monkeypatch, dialect, module, package):
    monkeypatch.setitem(__import__("sys").modules, module, None)
    error = refused(tmp_path, f"{dialect}://ml:pw@127.0.0.1:9/db", "SELECT 1 AS x")
    assert package in error.what
    assert "requirements.txt" in error.todo


def test_the_record_says_where_the_order_comes_from(tmp_path, postgres):
    url, columns = postgres.url(PSYCOPG[0]), {"y": {"type": "number"}, "x": {"type": "number"}}
    sql = "SELECT i AS y, row_number() OVER (ORDER BY i) AS x FROM generate_series(1, 20) i"
    for query, said in ((sql, "not fixed"), (sql + " ORDER BY 1", "by the query")):
        folder = prepared(tmp_path, url, query, columns)
        assert json.loads((folder / "profile.json").read_text())["source"]["order"].startswith(said)
        assert json.loads((folder / "result.json").read_text())["summary"]["order"].startswith(said)


@pytest.mark.parametrize(
    ("sql", "ordered"),
    [
        ("SELECT 1 ORDER\n BY x", True),
        ("SELECT 1 -- ORDER BY x", False),
        ("SELECT 'ORDER BY x'", False),
        ('SELECT 1 AS "order by"', False),
        ("SELECT * FROM (SELECT 1 ORDER BY (x)) t", False),
        ("WITH a AS (SELECT f(1)) SELECT * FROM a ORDER BY f(x) LIMIT 3", True),
        ("SELECT $$ order by $$ /* order by */", False),
    ],
)
def test_whether_a_query_has_an_order(sql, ordered):
    assert sqlsource.is_ordered(SqlSource(sql=sql, url="sqlite://")) is ordered
