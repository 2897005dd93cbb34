"""Rows of a query through SQLAlchemy. The address holds secrets and is shown nowhere."""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.data import snapshot as snapshots
from stages.errors import DataError, InfraError, MlciError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Connection, Engine
    from sqlalchemy.exc import SQLAlchemyError

    from stages.config.schema import SqlSource

#: Rows fetched and written at a time. A constant, because the snapshot's bytes follow from it.
ROWS = 20_000


def shown(source: SqlSource) -> str:
    """The query for messages and records."""
    query = " ".join(source.sql.split())
    return "sql: " + (query if len(query) <= 100 else query[:99] + "…")


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
            "use one that SQLAlchemy knows, or add its package to requirements.txt",
        ) from None
    except ImportError as error:
        raise DataError(
            "DAT_SOURCE",
            f"data.source.url: {url.drivername} needs the package {error.name!r}, which is not installed",
            "add it to the repository's requirements.txt and install that",
        ) from None
    except (ArgumentError, TypeError, ValueError):
        raise DataError("DAT_SOURCE", "data.source.url: has options that the dialect refuses", "correct it") from None


def _tables(engine: Engine, source: SqlSource) -> Iterator[pa.Table]:
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    try:
        connection = engine.connect()
    except (SQLAlchemyError, OSError) as error:
        raise InfraError(
            "DAT_NETWORK",
            f"the data base of data.source does not let us in: {_said(error, source)}",
            "check address, user and password, and that it runs",
        ) from None
    with connection:
        try:
            yield from _rows(connection, source)
        except DBAPIError as error:
            raise _failed(error, source) from None
        except SQLAlchemyError as error:
            raise DataError("DAT_SOURCE", f"{shown(source)}: {_said(error, source)}", "correct the query") from None


def _rows(connection: Connection, source: SqlSource) -> Iterator[pa.Table]:
    result = connection.execution_options(stream_results=True).exec_driver_sql(source.sql)
    if not result.returns_rows:
        raise DataError("DAT_SOURCE", f"{shown(source)}: gives no rows", "write a SELECT")
    names = list(result.keys())
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError("DAT_HEADER", f"{shown(source)}: gives {', '.join(twice)} more than once", "name them with AS")
    for part in result.partitions(ROWS):
        columns = {name: [_plain(row[i]) for row in part] for i, name in enumerate(names)}
        yield snapshots.table(columns, shown(source))


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, uuid.UUID | dt.time):
        return str(value)
    if isinstance(value, dict | list):
        return json.dumps(value, sort_keys=True)
    return bytes(value) if isinstance(value, memoryview) else value


def _failed(error: Any, source: SqlSource) -> MlciError:
    said = _said(error, source)
    if error.connection_invalidated or "database is locked" in said:
        return InfraError("DAT_NETWORK", f"{shown(source)}: {said}", "run the command again when the data base answers")
    return DataError("DAT_SOURCE", f"{shown(source)}: {said}", "correct the query")


def _said(error: SQLAlchemyError | OSError, source: SqlSource) -> str:
    """The driver's own first line, without the address and its password."""
    from sqlalchemy import make_url

    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    said = lines[0] if lines else type(error).__name__
    url = make_url(source.url)
    for secret in (source.url, url.password, *map(str, url.query.values())):
        if secret:
            said = said.replace(str(secret), "…")
    return said
