"""Files from HTTP servers and object stores, streamed into the cache."""

from __future__ import annotations

import base64
import hashlib
import http.client
import logging
import re
import socket
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from stages import __version__, console
from stages.bucket import Bucket, Failure
from stages.data import formats
from stages.errors import DataError, InfraError, MlciError
from stages.records.atomic import disk_errors

log = logging.getLogger("mlci")

#: Seconds without a byte after which a server counts as silent.
TIMEOUT = 30.0
#: Seconds before each further attempt.
PAUSES = (0.5, 2.0)
_PIECE = 1 << 20
#: Bytes of a name in the cache, which file systems limit to 255.
_LONGEST_NAME = 200


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
    path = home / _file_name(parts.path)
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
    console.doing(f"fetching {without_secrets(url)}")
    with disk_errors(home):
        home.mkdir(parents=True, exist_ok=True)
    _attempts(lambda: _into(temporary, copy))
    _refuse_page(temporary, url)
    with disk_errors(home):
        temporary.replace(path)
    return path


def _file_name(path: str) -> str:
    """What the last part of a URL's path is called in the cache: one name, whatever stands in the URL.

    The end is kept of a long one, because its suffix says the format.
    """
    last = re.split(r"[/\\]", unquote(path).rstrip("/\\"))[-1]
    name = "".join(character for character in last if character.isprintable())
    name = name.encode()[-_LONGEST_NAME:].decode(errors="ignore")
    return name if name.strip(".") else "data"


def _refuse_page(path: Path, url: str) -> None:
    """Refuse what a server answers to whoever is not logged in, before it takes the place of an earlier copy.

    Raises: DataError: DAT_SOURCE.
    """
    with path.open("rb") as file:
        start = file.read(formats.LOOK)
    if formats.is_page(start):
        path.unlink()
        raise DataError(
            "DAT_SOURCE",
            f"{without_secrets(url)}: the server answered with an HTML page, not data",
            "open the address in a browser: it may ask for a login; use the file's download address, with credentials",
        )


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
    # what stands in a URL already is left as it is; spaces and letters outside of ASCII are encoded
    path, query = (quote(part, safe="%/:?=&~+!$,;'@()*[]|") for part in (parts.path, parts.query))
    plain = parts._replace(netloc=parts.netloc.rpartition("@")[2], path=path, query=query, fragment="")
    address = plain.geturl()
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
    except zlib.error as error:
        raise _network(url, f"the packed content is damaged: {error}") from error
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
    """Write the content of an answer to `target`. Returns how many bytes were received, before unpacking."""
    received, unpacker = 0, None
    while piece := answer.read(_PIECE):
        if not received:
            unpacker = _unpacker(url, answer.headers.get("Content-Encoding") or "", piece)
        received += len(piece)
        console.so_far(f"fetching {without_secrets(url)}: {received / 1e6:,.0f} MB so far")
        with disk_errors(Path(target.name)):
            for content in [piece] if unpacker is None else unpacker.feed(piece):
                target.write(content)
    if unpacker is not None and not unpacker.whole:
        raise _network(url, f"the connection ended after {received:,} bytes, within the packed content")
    return received


class _Unpacker:
    """Takes one `Content-Encoding` off (gzip, also of several members, or deflate), in pieces of bounded size."""

    def __init__(self) -> None:
        self._new()

    def _new(self) -> None:
        self._stream = zlib.decompressobj(zlib.MAX_WBITS | 32)

    @property
    def whole(self) -> bool:
        """Whether what was fed so far ends where the packed content ends."""
        return self._stream.eof

    def feed(self, piece: bytes) -> Iterator[bytes]:
        """Unpacked content of the next piece."""
        while piece:
            if self._stream.eof:
                if not piece.strip(b"\0"):
                    return  # padding after the last member
                self._new()
            yield self._stream.decompress(piece, _PIECE)
            piece = self._stream.unconsumed_tail or self._stream.unused_data


def _unpacker(url: str, encoding: str, start: bytes) -> _Unpacker | None:
    """What unpacks an answer; None where there is nothing to unpack, whatever the header says.

    Raises: DataError: DAT_SOURCE: packed with what was not asked for.
    """
    said = [part.strip().lower() for part in encoding.split(",")]
    said = [part for part in said if part not in ("", "identity", "aws-chunked")]
    if not said:
        return None
    if said in (["gzip"], ["x-gzip"]):
        return _Unpacker() if start.startswith(b"\x1f\x8b") else None
    if said == ["deflate"]:  # zlib's header: RFC 1950
        return _Unpacker() if start[0] & 15 == 8 and int.from_bytes(start[:2], "big") % 31 == 0 else None
    raise DataError(
        "DAT_SOURCE",
        f"{without_secrets(url)}: the server packed the file with Content-Encoding {encoding!r}",
        "have the server send the file as it is, or with gzip",
    )


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
        received = 0
        for piece in Bucket(name).pieces(key):
            received += len(piece)
            console.so_far(f"fetching {url}: {received / 1e6:,.0f} MB so far")
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
