"""Asking a service, from beside it: short timeouts, no proxies, plain answers."""

from __future__ import annotations

import http.client
from typing import Any, NamedTuple

from stages.records import jsonfile


class Said(NamedTuple):
    """Status and decoded JSON body, None where the body is not JSON."""

    status: int
    body: Any


class Client:
    """One service at `host`:`port`. Each call is a connection of its own."""

    def __init__(self, host: str, port: int, api_key: str | None = None, timeout: float = 30.0) -> None:
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104  compared, not bound
        self.port = port
        self._key = api_key
        self._timeout = timeout

    @property
    def url(self) -> str:
        """Address as a person would type it."""
        return f"http://[{self.host}]:{self.port}" if ":" in self.host else f"http://{self.host}:{self.port}"

    def get(self, path: str) -> Said:
        """GET. Raises: OSError, also for an answer that is not HTTP."""
        return self._ask("GET", path, None)

    def post(self, path: str, body: bytes) -> Said:
        """POST of JSON text. Raises: OSError, also for an answer that is not HTTP."""
        return self._ask("POST", path, body)

    def text(self, path: str) -> str:
        """Body of a GET as text, empty unless it is answered with 200. Raises: OSError."""
        status, content = self._exchange("GET", path, None)
        return content.decode(errors="replace") if status == 200 else ""

    def _ask(self, method: str, path: str, body: bytes | None) -> Said:
        status, content = self._exchange(method, path, body)
        try:
            return Said(status, jsonfile.parse(content))
        except ValueError:
            return Said(status, None)

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        headers = {"Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        connection = http.client.HTTPConnection(self.host, self.port, timeout=self._timeout)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            content = answer.read(jsonfile.LARGEST + 1)
            if answer.length:  # of a body that broke off, or is larger than any answer of a service
                raise OSError(0, f"no HTTP answer: {answer.length:,} bytes of it are missing")
            return answer.status, content
        except http.client.HTTPException as error:
            raise OSError(0, f"no HTTP answer: {type(error).__name__}") from error
        finally:
            connection.close()
