"""The little of HTTP that the service needs on top of ASGI: bounded bodies, JSON answers, problem documents (RFC
9457)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import orjson

from stages.serving.decode import Problem, json_type

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = b"application/json"

_FOR_BROWSERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
_CLOSE = (b"connection", b"close")


@dataclass(slots=True)
class Response:
    """A complete answer."""

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Sequence[tuple[bytes, bytes]] = ()

    def head(self, close: bool, method: str) -> dict[str, Any]:
        """The first message of ASGI, of the answer to a request with `method`; `close` ends the connection after it."""
        length = b"%d" % len(self.body)
        headers: Headers = [(b"content-type", self.content_type), (b"content-length", length)]
        # Nobody keeps the answer to a POST (RFC 9111, section 3), and no page can load it as a script or a style sheet.
        if method != "POST":
            headers += _FOR_BROWSERS
        if self.headers:
            headers += self.headers
        if close:
            headers.append(_CLOSE)
        return {"type": "http.response.start", "status": self.status, "headers": headers}

    def rest(self, method: str) -> dict[str, Any]:
        """The second one."""
        return {"type": "http.response.body", "body": b"" if method == "HEAD" else self.body}


def answer(value: Any, status: int = 200) -> Response:
    """A JSON answer."""
    return Response(status, orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY))


class Refused(Exception):
    """A request that is answered with a problem document.

    `close`: the connection cannot be used again, because the body was not read to its end.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        problems: Sequence[Problem] = (),
        total: int = 0,
        headers: Headers | None = None,
        close: bool = False,
    ) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail
        self.problems = problems
        self.total = total
        self.headers = headers or []
        self.close = close

    def response(self) -> Response:
        """The problem document."""
        body: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "code": self.code,
            "detail": self.detail,
        }
        if self.problems:
            body["problems"] = [problem.plain() for problem in self.problems]
            body["problems_total"] = max(self.total, len(self.problems))
        return Response(self.status, orjson.dumps(body), b"application/problem+json", self.headers)


class Disconnected(Exception):
    """The caller went away before its request was complete."""


def header(scope: Scope, name: bytes) -> bytes | None:
    """Value of a request header (`name` in lower case), None if it is absent."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


def whole_body(message: Message, most: int) -> bytes | None:
    """The body that came whole with the first message of a request, None where more is to come.

    Raises:
        Refused: 413, longer than `most` bytes. Disconnected.
    """
    if message["type"] == "http.disconnect":
        raise Disconnected
    body: bytes = message.get("body", b"")
    if len(body) > most:
        raise too_long(most)
    return None if message.get("more_body") else body


def too_long(most: int) -> Refused:
    """The answer to a body of more than `most` bytes, which is not read to its end."""
    return Refused(413, "SRV_BODY_TOO_LARGE", f"a body may have {most} bytes; send fewer rows at once", close=True)


def too_many_rows(most: int) -> Refused:
    """The answer to more than `most` rows."""
    problem = Problem("/rows", "SRV_TOO_MANY_ROWS", f"at most {most} rows", "more")
    detail = f"at most {most} rows are taken at once; send the others in another request"
    return Refused(413, "SRV_TOO_MANY_ROWS", detail, [problem])


def not_json(got: str) -> Refused:
    """The answer to a body that is not JSON; `got` says why."""
    problem = Problem("", "DAT_JSON", "JSON as RFC 8259 has it", got)
    return Refused(400, "DAT_JSON", f"the body is not JSON: {got}", [problem])


def parse(body: bytes, start: int = 0) -> Any:
    """JSON as RFC 8259 has it: no NaN, no Infinity, no comments; `start`: the place of `body` in the whole.

    Raises:
        Refused: 400, pointing at the whole body.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise not_json("nothing" if not body.strip() else f"an error at byte {start + error.pos}") from None


def rows_of(document: Any, most: int) -> list[Any]:
    """The rows of a decoded body.

    Raises:
        Refused: 422, it has no array of rows; 413, more than `most`.
    """
    rows = document.get("rows") if type(document) is dict else None
    if type(rows) is not list:
        if not isinstance(document, dict):
            problem = Problem("", "DAT_ROW_SHAPE", 'an object: {"rows": [...]}', json_type(document))
        else:
            got = json_type(rows) if "rows" in document else "nothing"
            problem = Problem("/rows", "DAT_ROW_SHAPE", "an array of rows", got)
        raise Refused(422, "DAT_REFUSED", f"expected {problem.expected}", [problem])
    if len(rows) > most:
        raise too_many_rows(most)
    return rows
