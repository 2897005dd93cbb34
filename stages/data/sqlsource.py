"""Rows of a query through SQLAlchemy. The address holds secrets and is shown nowhere."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus

from stages.data import snapshot as snapshots
from stages.data import sqldrivers
from stages.errors import DataError, InfraError, MlciError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Engine

    from stages.config.schema import SqlSource

#: Rows fetched and written at a time. A constant, because the snapshot's bytes follow from it.
ROWS = 20_000
#: What the record says of the order of rows.
UNORDERED = "not fixed: the query has no ORDER BY, so the same rows may come in another order and be another content"


def shown(source: SqlSource) -> str:
    """The query for messages and records."""
    query = " ".join(source.sql.split())
    return "sql: " + (query if len(query) <= 100 else query[:99] + "…")


def is_ordered(source: SqlSource) -> bool:
    """Whether the query itself has an ORDER BY; those of subqueries and windows say nothing about its rows."""
    text = _ASIDE.sub(" ", source.sql)
    while (inner := _PARENTHESES.sub(" ", text)) != text:
        text = inner
    return _ORDER_BY.search(text) is not None


_ASIDE = re.compile(r"--[^\n]*|/\*.*?\*/|'(?:[^']|'')*'|\"[^\"]*\"|`[^`]*`|\$(\w*)\$.*?\$\1\$", re.DOTALL)
_PARENTHESES = re.compile(r"\([^()]*\)")
_ORDER_BY = re.compile(r"\border\s+by\b", re.IGNORECASE)


def snapshot(source: SqlSource, root: Path, cache: Path, reuse: bool) -> Path:
    """The rows of the query as a Parquet file below `cache`. `root`: what a relative SQLite path starts from.

    Raises:
        DataError: DAT_SOURCE: the address or the query is wrong; DAT_SOURCE_MISSING; DAT_EMPTY; DAT_HEADER.
        InfraError: DAT_NETWORK: the data base does not answer; DEP_DISK.
    """
    digest = hashlib.sha256(f"{source.sql}\0{source.url}".encode()).hexdigest()[:16]
    path = cache / digest / "query.parquet"
    if not (reuse and path.is_file()):
        engine = _engine(source, root)
        try:
            snapshots.write(_tables(engine, source), path, shown(source))
        finally:
            engine.dispose()
    return path


def _engine(source: SqlSource, root: Path) -> Engine:
    import sqlalchemy
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        url = sqlalchemy.make_url(source.url)
    except (ArgumentError, ValueError):
        raise DataError(
            "DAT_SOURCE", "data.source.url: is no address of a data base", "write dialect://user:password@host/name"
        ) from None
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:" and "uri" not in url.query:
        database = root / Path(url.database).expanduser()
        if not database.is_file():
            raise DataError(
                "DAT_SOURCE_MISSING", f"data.source.url: there is no SQLite file {url.database}", "correct the path"
            )
        url = url.set(database=str(database))
    try:
        return sqlalchemy.create_engine(url)
    except NoSuchModuleError:
        raise DataError(
            "DAT_SOURCE",
            f"data.source.url: the dialect {url.drivername!r} is not known",
            "write postgresql://"
            if url.drivername == "postgres"
            else "use one that SQLAlchemy knows, or add its package to requirements.txt",
        ) from None
    except ImportError as error:
        package = sqldrivers.PACKAGES.get(error.name or "", error.name) or str(error).splitlines()[0]
        raise DataError(
            "DAT_SOURCE",
            f"data.source.url: {url.drivername} needs the Python package {package}, which is not installed",
            "add it to the repository's requirements.txt and install that",
        ) from None
    except (ArgumentError, TypeError, ValueError):
        raise DataError("DAT_SOURCE", "data.source.url: has options that the dialect refuses", "correct it") from None


def require_driver(source: SqlSource, root: Path) -> None:
    """Refuse an address that could not be used, without connecting.

    Raises: DataError: DAT_SOURCE: the dialect is not known, or its driver is not installed.
    """
    try:
        _engine(source, root).dispose()
    except DataError as error:
        if error.code != "DAT_SOURCE_MISSING":
            raise


def _tables(engine: Engine, source: SqlSource) -> Iterator[pa.Table]:
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        connection = engine.connect()
    except (SQLAlchemyError, OSError) as error:
        raise InfraError(
            "DAT_NETWORK",
            f"the data base of data.source refused the connection: {_said(error, source)}",
            "check address, user and password, and that it runs",
        ) from None
    with connection:
        try:
            yield from _rows(connection, source)
        except DBAPIError as error:
            raise _failed(error, source) from None
        except (SQLAlchemyError, ArithmeticError, ValueError) as error:
            raise DataError("DAT_SOURCE", f"{shown(source)}: {_said(error, source)}", "correct the query") from None


def _rows(connection: Connection, source: SqlSource) -> Iterator[pa.Table]:
    from sqlalchemy.exc import DBAPIError

    sqldrivers.prepare(connection)
    # Without parameters at all, drivers do not look for any: neither % nor :name is one.
    connection = connection.execution_options(stream_results=True, no_parameters=True)
    result = connection.exec_driver_sql(sqldrivers.statement(source.sql, connection.dialect.paramstyle))
    if not result.returns_rows:
        raise DataError("DAT_SOURCE", f"{shown(source)}: gives no rows", "write a SELECT")
    names = list(result.keys())
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError("DAT_HEADER", f"{shown(source)}: gives {', '.join(twice)} more than once", "name them with AS")
    cursor = result.cursor
    plain = sqldrivers.converters(connection, cursor.description)
    try:
        for part in result.partitions(ROWS):
            columns = {name: [plain[i](row[i]) for row in part] for i, name in enumerate(names)}
            yield snapshots.table(columns, shown(source))
    except DBAPIError as error:
        if error.connection_invalidated:
            sqldrivers.abandon(cursor)
        raise


def _failed(error: Any, source: SqlSource) -> MlciError:
    said = _said(error, source)
    if error.connection_invalidated or "database is locked" in said:
        return InfraError("DAT_NETWORK", f"{shown(source)}: {said}", "run the command again when the data base answers")
    return DataError("DAT_SOURCE", f"{shown(source)}: {said}", "correct the query")


def _said(error: Exception, source: SqlSource) -> str:
    """The driver's own first line, without the address and its password."""
    from sqlalchemy import make_url

    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    url = make_url(source.url)
    password = str(url.password or "")
    for secret in (source.url, password, quote(password), quote_plus(password), *map(str, url.query.values())):
        if secret:
            said = said.replace(secret, "…")
    return said
