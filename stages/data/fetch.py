"""Files from HTTP servers and object stores, streamed into the cache."""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from stages import __version__
from stages.bucket import Bucket, Failure
from stages.errors import DataError, InfraError, MlciError
from stages.records.atomic import disk_errors

log = logging.getLogger("mlci")

#: Seconds without a byte after which a server counts as silent.
TIMEOUT = 30.0
#: Seconds before each further attempt.
PAUSES = (0.5, 2.0)
_PIECE = 1 << 20


def without_secrets(url: str) -> str:
    """A URL for messages and records: no user, no query (signed URLs carry keys there)."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}" + ("?…" if parts.query else "")


def fetch(url: str, cache: Path, reuse: bool) -> Path:
    """The content of `url` as a file below `cache`. `reuse`: an earlier copy is taken as it is.

    Raises:
        DataError: DAT_SOURCE: the server says no (404, 403 …), or the scheme is not known.
        InfraError: DAT_NETWORK: no answer, or not a whole one, after further attempts; DEP_DISK.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise DataError("DAT_SOURCE", f"data.source: is no valid address: {error}", "correct it") from error
    home = cache / hashlib.sha256(url.encode()).hexdigest()[:16]
    path = home / (unquote(Path(parts.path).name) or "data")
    if reuse and path.is_file():
        return path
    if parts.scheme.lower() in ("http", "https"):
        copy: Callable[[Any], None] = lambda target: _http(url, parts, target)  # noqa: E731
    elif parts.scheme.lower() == "s3":
        copy = lambda target: _s3(url, target)  # noqa: E731
    else:
        raise DataError(
            "DAT_SOURCE",
            f"{without_secrets(url)}: {parts.scheme}:// is not known",
            "use a path, file://, http://, https:// or s3://",
        )
    temporary = home / f".{path.name}.part"
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    _attempts(lambda: _into(temporary, copy))
    with disk_errors(home):
        temporary.replace(path)
    return path


def _into(temporary: Path, copy: Callable[[Any], None]) -> None:
    try:
        with disk_errors(temporary):
            target = temporary.open("wb")
        with target:
            copy(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _attempts(attempt: Callable[[], None]) -> None:
    for pause in (*PAUSES, None):
        try:
            attempt()
        except InfraError as error:
            if pause is None or error.code != "DAT_NETWORK":
                raise
            log.warning("%s; trying again in %g s", error.what, pause)
            time.sleep(pause)
        else:
            return


def _network(url: str, why: object) -> InfraError:
    return InfraError(
        "DAT_NETWORK",
        f"{without_secrets(url)}: {why}",
        "check the network, proxy settings and the server, then run the command again",
    )


def _http(url: str, parts: SplitResult, target: Any) -> None:
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2], fragment="").geturl()
    try:
        request = urllib.request.Request(address, headers={"User-Agent": f"mlci/{__version__}"})  # noqa: S310
        if parts.username is not None:
            secret = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            # Not sent on to where a redirect leads.
            request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(secret).decode())
        with urllib.request.urlopen(request, timeout=TIMEOUT) as answer:  # noqa: S310
            expected = answer.headers.get("Content-Length")
            received = _copy(url, answer, target)
    except urllib.error.HTTPError as error:
        with error:
            raise _status(url, error) from error
    except (ValueError, http.client.InvalidURL) as error:
        raise DataError("DAT_SOURCE", f"{without_secrets(url)}: is no valid address", "correct data.source") from error
    except urllib.error.URLError as error:
        raise _network(url, error.reason) from error
    except (OSError, http.client.HTTPException) as error:
        why = (
            "the server was silent for too long"
            if isinstance(error, socket.timeout)
            else f"{type(error).__name__}: {error}"
        )
        raise _network(url, why) from error
    if expected is not None and expected.isdigit() and received != int(expected):
        raise _network(url, f"the connection ended after {received:,} of {int(expected):,} bytes")


def _copy(url: str, answer: Any, target: Any) -> int:
    received = 0
    while piece := answer.read(_PIECE):
        received += len(piece)
        with disk_errors(Path(target.name)):
            target.write(piece)
    return received


def _status(url: str, error: urllib.error.HTTPError) -> MlciError:
    said = f"the server answered {error.code} {http.client.responses.get(error.code, '')}".rstrip()
    if error.code >= 500 or error.code in (408, 425, 429):
        return _network(url, said)
    if 300 <= error.code < 400:
        said += ", a redirect that leads nowhere"
    todo = "give a user and password or a signed address" if error.code in (401, 403) else "correct data.source"
    return DataError("DAT_SOURCE", f"{without_secrets(url)}: {said}", todo)


def _s3(url: str, target: Any) -> None:
    name, _, key = url.split("://", 1)[1].partition("/")
    if not key:
        raise DataError("DAT_SOURCE", f"{url}: names no object", "write s3://bucket/key")
    try:
        for piece in Bucket(name).pieces(key):
            with disk_errors(Path(target.name)):
                target.write(piece)
    except Failure as failure:
        raise _not_had(url, failure) from failure


def _not_had(url: str, failure: Failure) -> MlciError:
    if failure.kind == "network":
        return _network(url, failure.what.removeprefix(f"{url}: "))
    if failure.kind == "missing":
        return DataError("DAT_SOURCE_MISSING", f"{url}: there is no such object", "correct data.source")
    return DataError("DAT_SOURCE", f"{url}: {failure.what.removeprefix(f'{url}: ')}", failure.todo)
