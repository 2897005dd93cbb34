"""The ASGI application: a few fixed paths, written against ASGI itself (`docs/decisions/0020-plain-asgi.md`)."""

from __future__ import annotations

import asyncio
import hmac
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from stages.serving import page
from stages.serving.batcher import Batcher, Overloaded
from stages.serving.deadline import Deadlines
from stages.serving.decode import Decoded, Problem
from stages.serving.http import (
    JSON,
    Disconnected,
    Receive,
    Refused,
    Response,
    Scope,
    Send,
    answer,
    header,
    parse,
    rows_of,
    too_long,
    whole_body,
)
from stages.serving.limits import Limits
from stages.serving.monitoring import Monitoring
from stages.serving.openapi import document
from stages.serving.predictor import Predictor, RowsRefused
from stages.serving.upload import AT_ONCE_BYTES, FEW_ROWS, Upload, Uploads

log = logging.getLogger("mlci")
access = logging.getLogger("mlci.access")

_RETRY = [(b"retry-after", b"1")]
_BEARER = [(b"www-authenticate", b"Bearer")]

Handler = Callable[[Scope, Receive], Awaitable[Response]]

_NOWHERE: Mapping[str, Handler] = {}


@dataclass
class About:
    """What is served: `files` are the digests, `metrics` what was recorded with the model, `override` why it serves
    although the gate did not approve it."""

    name: str
    version: str
    files: Mapping[str, str] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    override: Mapping[str, Any] | None = None


class Service:
    """One model behind HTTP.

    `last_answers` makes every answer the last on its connection. With `api_key`, every path but the two probes asks
    for it.
    """

    def __init__(
        self,
        predictor: Predictor,
        about: About,
        limits: Limits | None = None,
        api_key: str | None = None,
        log_access: bool = False,
    ) -> None:
        self.predictor = predictor
        self.about = about
        self.limits = limits or Limits()
        self.monitoring = Monitoring(about.name, about.version)
        self.last_answers = False
        self._ready = False
        self._key = api_key.encode() if api_key else None
        self._log_access = log_access
        self._deadlines = Deadlines(self.limits.deadline_seconds)
        self.monitoring.in_flight.set_function(lambda: float(len(self._deadlines)))
        self._batcher = Batcher(
            predictor.predict, self.limits.max_batch_rows, self.limits.max_waiting_rows, self.monitoring.batch
        )
        self._decoder = predictor.decoder
        self._uploads = Uploads(predictor.decoder, self.limits)
        self._openapi = answer(document(predictor.signature, about.version, self.limits, api_key is not None))
        self._model = answer(_described(predictor, about))
        html = b"text/html; charset=utf-8"
        self._page = Response(200, page.page(predictor.signature, about.version), html, page.HEADERS)
        self._locked_page = Response(200, page.locked(), html, page.HEADERS)
        self._resources = {
            path: Response(200, page.resource(path), kind, page.HEADERS) for path, kind in page.RESOURCES.items()
        }
        probes: dict[str, Handler] = {"GET": self._live, "HEAD": self._live}
        readiness: dict[str, Handler] = {"GET": self._readiness, "HEAD": self._readiness}
        self._routes: dict[str, dict[str, Handler]] = {
            "/predict": {"POST": self._predict},
            "/livez": probes,
            "/readyz": readiness,
            "/model": {"GET": self._describe, "HEAD": self._describe},
            "/metrics": {"GET": self._metrics, "HEAD": self._metrics},
            "/openapi.json": {"GET": self._document, "HEAD": self._document},
            "/": {"GET": self._try_it, "HEAD": self._try_it},
            **{path: {"GET": self._resource, "HEAD": self._resource} for path in self._resources},
        }
        # A browser cannot send the key with an address: the page asks for it, and without it tells nothing.
        self._open_paths = {"/livez", "/readyz", "/", *self._resources}
        self.set_ready(True)

    def set_ready(self, ready: bool) -> None:
        """Whether /readyz says yes."""
        self._ready = ready
        self.monitoring.ready.set(int(ready))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        if scope["type"] != "http":
            return None
        started = time.perf_counter()
        path, method = scope["path"], scope["method"]
        close = self.last_answers
        try:
            handler = self._routes.get(path, _NOWHERE).get(method)
            if handler is None:
                raise self._misdirected(path, method)
            if self._key is not None and path not in self._open_paths and not self._holds_key(scope):
                todo = "send the API key as Authorization: Bearer KEY, or as X-API-Key"
                raise Refused(401, "SRV_KEY", todo, headers=_BEARER, close=method == "POST")
            response = await handler(scope, receive)
        except Refused as refused:
            response, close = refused.response(), close or refused.close
        except Disconnected:
            response = Response(499, b"")  # nobody reads it; the number is for the log, as in nginx
            close = True
        except Exception as error:  # noqa: BLE001  a bug answers 500 without a word of the caller's data
            log.error("%s %s failed: %s\n%s", method, path if path in self._routes else "?", *_trace(error))
            response = Refused(500, "SRV_BUG", "the service failed; its log says where").response()
        if response.status != 499:
            await send(response.head(close or self.last_answers, method))
            await send(response.rest(method))
        seconds = time.perf_counter() - started
        known = path if path in self._routes else "other"
        self.monitoring.answered.request(known, response.status, seconds)
        if self._log_access:
            access.info(_access_line(scope, known, response, seconds))
        return None

    def _misdirected(self, path: str, method: str) -> Refused:
        if path not in self._routes:
            return Refused(404, "SRV_NO_SUCH_PATH", f"paths: {', '.join(self._routes)}", close=method == "POST")
        allowed = ", ".join(self._routes[path])
        headers = [(b"allow", allowed.encode())]
        return Refused(405, "SRV_METHOD", f"{path} takes: {allowed}", headers=headers, close=method == "POST")

    def _holds_key(self, scope: Scope) -> bool:
        sent = header(scope, b"x-api-key")
        if sent is None:
            scheme, _, sent = (header(scope, b"authorization") or b"").partition(b" ")
            if scheme.lower() != b"bearer":
                return False
        return hmac.compare_digest(sent.strip(), self._key or b"")

    async def _predict(self, scope: Scope, receive: Receive) -> Response:
        deadlines, limits = self._deadlines, self.limits
        if len(deadlines) >= limits.max_concurrency:
            raise Refused(429, "SRV_BUSY", "too many requests at once; try again", headers=_RETRY, close=True)
        _check_head(dict(scope["headers"]), limits.max_body_bytes)
        upload: Upload | None = None
        arrived = False
        task = deadlines.begin()
        try:
            message = await receive()
            body = whole_body(message, limits.max_body_bytes)
            if body is not None and len(body) <= AT_ONCE_BYTES:
                arrived = True
                rows = rows_of(parse(body), limits.max_rows)
                few = len(rows) <= FEW_ROWS
                decoded = self._decoder.decode(rows) if few else await Upload(self._uploads).decode_rows(rows)
            else:
                upload = Upload(self._uploads)
                decoded = await upload.decode(message, receive)
            self._check(decoded)
            if decoded.rows <= self.predictor.inline_rows:
                found = self.predictor.answer(decoded)
            else:
                found = await self._batcher.answer(decoded.columns, decoded.rows)
        except asyncio.CancelledError:
            if not deadlines.over(task):
                raise
            raise _late(limits.deadline_seconds, arrived if upload is None else upload.arrived) from None
        except Refused as refused:
            refused.close |= upload is not None and not upload.arrived
            raise
        except Overloaded:
            raise Refused(503, "SRV_OVERLOADED", "too many rows are waiting; try again", headers=_RETRY) from None
        except RowsRefused as refused:
            raise _unanswered(refused) from None
        finally:
            deadlines.end(task)
            if upload is not None:
                upload.end()
        self.monitoring.answered.rows += decoded.rows
        content: dict[str, Any] = {"predictions": found.predictions}
        if found.probabilities is not None:
            content["probabilities"] = found.probabilities
        return Response(200, orjson.dumps(content))

    def _check(self, decoded: Decoded) -> None:
        """Count what was decoded. Raises: Refused: 422, values do not meet the contract."""
        if decoded.unknown or decoded.ignored:
            self.monitoring.unknown.inc(decoded.unknown)
            self.monitoring.ignored.inc(decoded.ignored)
        if decoded.refused:
            self.monitoring.refused.inc(decoded.refused)
            values = "1 value does" if decoded.refused == 1 else f"{decoded.refused} values do"
            raise Refused(422, "DAT_REFUSED", f"{values} not meet the contract", decoded.problems, decoded.refused)
        if decoded.unseen:
            self.monitoring.unseen(decoded.unseen)

    async def _live(self, scope: Scope, receive: Receive) -> Response:
        return answer({"status": "alive"})

    async def _readiness(self, scope: Scope, receive: Receive) -> Response:
        if self._ready:
            return answer({"status": "ready"})
        raise Refused(503, "SRV_NOT_READY", "the service is ending", headers=_RETRY)

    async def _describe(self, scope: Scope, receive: Receive) -> Response:
        return self._model

    async def _document(self, scope: Scope, receive: Receive) -> Response:
        return self._openapi

    async def _try_it(self, scope: Scope, receive: Receive) -> Response:
        return self._page if self._key is None or self._holds_key(scope) else self._locked_page

    async def _resource(self, scope: Scope, receive: Receive) -> Response:
        return self._resources[scope["path"]]

    async def _metrics(self, scope: Scope, receive: Receive) -> Response:
        return Response(200, self.monitoring.page(), self.monitoring.content_type.encode())


def _described(predictor: Predictor, about: About) -> dict[str, Any]:
    return {
        "name": about.name,
        "version": about.version,
        "task": predictor.signature.get("task"),
        "runtime": predictor.runtime,
        "files": dict(about.files),
        "metrics": _finite(about.metrics),
        "override": _finite(about.override),
        "signature": dict(predictor.signature),
    }


def _finite(value: Any) -> Any:
    """`value` with NaN and infinities as null: JSON has no other way to say it."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and value - value != 0 else value


def _check_head(headers: Mapping[bytes, bytes], most: int) -> None:
    sent = headers.get(b"content-type")
    if sent is not None and sent != JSON and sent.partition(b";")[0].strip().lower() != b"application/json":
        raise Refused(415, "SRV_MEDIA_TYPE", "send Content-Type: application/json", close=True)
    coding = headers.get(b"content-encoding")
    if coding is not None and coding.strip().lower() not in (b"", b"identity"):
        raise Refused(415, "SRV_MEDIA_TYPE", "send the body uncompressed", close=True)
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > most:
        raise too_long(most)


def _late(seconds: float, arrived: bool) -> Refused:
    within = f"within {seconds:g} s"
    if not arrived:
        return Refused(408, "SRV_SLOW_BODY", f"the body did not arrive {within}", close=True)
    return Refused(504, "SRV_DEADLINE", f"no answer {within}; send fewer rows at once", headers=_RETRY)


def _unanswered(refused: RowsRefused) -> Refused:
    log.warning("the model has no answer for %d rows of a request%s", len(refused.rows), _cause(refused))
    wanted = "values that the model can answer"
    problems = [Problem(f"/rows/{i}", "MOD_NO_ANSWER", wanted, "none such") for i in refused.rows]
    return Refused(422, "MOD_NO_ANSWER", "the model has no answer for these rows", problems[:100], len(problems))


def _trace(error: BaseException) -> tuple[str, str]:
    """Type and frames of an error. Its message stays out: libraries put values into theirs."""
    return type(error).__name__, "".join(traceback.format_tb(error.__traceback__)).rstrip()


def _cause(error: BaseException) -> str:
    cause = error.__cause__
    return "" if cause is None else ": {}\n{}".format(*_trace(cause))


def _access_line(scope: Scope, path: str, response: Response, seconds: float) -> str:
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "client": (scope.get("client") or ("",))[0],
        "method": scope["method"] if scope["method"].isalpha() else "?",
        "path": path,
        "status": response.status,
        "bytes": len(response.body),
        "ms": round(seconds * 1000, 2),
    }
    return json.dumps(line)


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return
