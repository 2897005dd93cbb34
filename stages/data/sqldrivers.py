"""What drivers of data bases need to be told, or tell in ways of their own.

They bring values into Python types, and what these do not hold is an error in the middle of the rows (psycopg:
`infinity`, years before 1 or after 9999) or becomes another value silently (psycopg2 makes 9999-12-31 of `infinity`).
Such values come as text here, so that the contract refuses them one by one, with what they are.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection

#: Module that a dialect imports → what to install for it.
PACKAGES = {
    "MySQLdb": "mysqlclient (or write mysql+pymysql:// and add PyMySQL)",
    "psycopg": "psycopg[binary]",
    "psycopg2": "psycopg2-binary",
    "pymysql": "PyMySQL",
    "cx_Oracle": "cx-Oracle",
}

_PG_TIMES = {1082: "date", 1114: "timestamp", 1184: "timestamptz"}
_PG_INTERVAL = 1186
_MYSQL_BIT = 16
_PLAIN = (str, int, float, bool, bytes, dt.date, dt.timedelta, Decimal, type(None))


def prepare(connection: Connection) -> None:
    """Let the driver of this connection give as text what Python's dates cannot hold."""
    driver = connection.dialect.driver
    raw: Any = connection.connection.driver_connection
    if driver == "psycopg2":
        _prepare_psycopg2(raw)
    elif driver == "psycopg":
        _prepare_psycopg(raw)


def _prepare_psycopg2(raw: Any) -> None:
    from psycopg2 import extensions  # type: ignore[import-untyped]

    def gentle(caster: Any) -> Callable[[str | None, Any], Any]:
        def cast(text: str | None, cursor: Any) -> Any:
            if text is None or "infinity" in text:
                return text
            try:
                return caster(text, cursor)
            except (ValueError, OverflowError):
                return text

        return cast

    casters = {
        1082: extensions.PYDATE,
        1114: extensions.PYDATETIME,
        1184: extensions.PYDATETIMETZ,
        _PG_INTERVAL: extensions.PYINTERVAL,
    }
    for oid, caster in casters.items():
        extensions.register_type(extensions.new_type((oid,), f"TEXT_OR_{oid}", gentle(caster)), raw)


def _prepare_psycopg(raw: Any) -> None:
    from psycopg.adapt import Loader

    def gentle(known: Any) -> Any:
        class Gentle(Loader):
            def __init__(self, oid: int, context: Any = None) -> None:
                super().__init__(oid, context)
                self._known = known(oid, context)

            def load(self, data: Any) -> Any:
                try:
                    return self._known.load(data)
                except Exception as error:
                    # The driver's own error, which is not to end the rows; anything else is a bug.
                    if type(error).__name__ not in ("DataError", "ValueError", "OverflowError"):
                        raise
                    return bytes(data).decode()

        return Gentle

    for oid in (*_PG_TIMES, _PG_INTERVAL):
        known = raw.adapters.get_loader(oid, 0)
        if known is not None:
            raw.adapters.register_loader(oid, gentle(known))


def abandon(cursor: Any) -> None:
    """Close the cursor of a lost connection. PyMySQL would first look for the rest of the rows, and write a traceback
    when there is none."""
    result: Any = getattr(cursor, "_result", None)
    if hasattr(result, "unbuffered_active"):
        result.unbuffered_active = False
    both: tuple[Any, Any] = (cursor, getattr(cursor, "connection", None))
    for one in both:
        with suppress(Exception):
            one.close()


def statement(sql: str, paramstyle: str) -> str:
    """The query as the driver is to send it, without parameters.

    Drivers of the styles `format` and `pyformat` took `%` for the start of a parameter, and queries doubled it for
    them. One in which every `%` is doubled still means one.
    """
    doubled = sql.replace("%%", "")
    return sql.replace("%%", "%") if paramstyle in ("format", "pyformat") and "%" not in doubled else sql


def converters(connection: Connection, description: Sequence[Sequence[Any]]) -> list[Callable[[Any], Any]]:
    """For each column of a result, a function from the driver's values to plain ones."""
    bits = connection.dialect.name in ("mysql", "mariadb")
    return [_bit if bits and column[1] == _MYSQL_BIT else plain for column in description]


def _bit(value: Any) -> Any:
    """BIT(1), and BIT(n) as a number, which drivers give as bytes."""
    return int.from_bytes(value, "big") if isinstance(value, bytes) else value


def plain(value: Any) -> Any:
    """A value of a driver as one that a Parquet file holds: UUIDs, addresses, ranges and the like as their text, arrays
    and documents as JSON, times in UTC. Numbers stay as they are (see `snapshot`)."""
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        try:
            return value.astimezone(dt.UTC)
        except OverflowError:
            return value.isoformat()
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, memoryview | bytearray):
        return bytes(value)
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, sort_keys=True, default=str, ensure_ascii=False)
    return str(value)
