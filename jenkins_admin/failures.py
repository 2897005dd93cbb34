"""What went wrong with a request, read from the exception or from Jenkins' answer."""

from __future__ import annotations

import html
import re
from typing import Any

import requests
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError, ProtocolError


def reason(response: requests.Response) -> str:
    """`: why`, as far as an answer says why: its X-Error header, or the heart of its HTML page, cut to a line."""
    header = response.headers.get("X-Error")
    if header:
        return ": " + " ".join(header.split())
    try:
        text = response.text[:200_000]
    except requests.RequestException:
        return ""
    if "<" not in text:
        return ": " + " ".join(text.split())[:300] if text.strip() else ""
    for pattern in (r"<h1>Error</h1>\s*<p>(.*?)</p>", r"<th>MESSAGE:</th><td>(.*?)</td>", r"<title>(.*?)</title>"):
        found = re.search(pattern, text, re.DOTALL | re.IGNORECASE)
        if found and found.group(1).strip():
            plain = re.sub(r"<[^>]+>", " ", found.group(1))
            return ": " + html.unescape(" ".join(plain.split()))[:300]
    return ""


def from_a_visitor(response: requests.Response) -> bool:
    """Whether Jenkins refused somebody who has not logged in. A wrong password gets another status."""
    user = response.headers.get("X-You-Are-Authenticated-As")
    if user is not None:
        return user.lower() == "anonymous"
    return "X-Jenkins" in response.headers and "Authentication required" in response.text[:100_000]


def bare(url: str | None) -> str:
    """An address without its query, which may hold values of the user's."""
    return (url or "").split("?", 1)[0]


def retry_after(response: requests.Response) -> float | None:
    """The seconds to wait before the request is repeated, if the answer says so."""
    value = response.headers.get("Retry-After", "")
    return float(value) if re.fullmatch("[0-9]{1,9}", value) else None


def _chain(error: BaseException | None) -> list[BaseException]:
    found: list[BaseException] = []
    queue: list[Any] = [error]
    while queue:
        one = queue.pop(0)
        if isinstance(one, BaseException) and one not in found:
            found.append(one)
            queue += [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
    return found


def never_sent(error: requests.RequestException) -> bool:
    """Whether the request certainly did not reach Jenkins."""
    return any(isinstance(one, NewConnectionError | ConnectTimeoutError | NameResolutionError) for one in _chain(error))


def root(error: BaseException) -> str:
    """The innermost reason, in a few words."""
    chain = _chain(error)
    for one in chain:
        if isinstance(one, NameResolutionError):
            return "its name is not known"
    for one in reversed(chain):
        if isinstance(one, OSError) and one.strerror:
            return one.strerror.lower() if not one.strerror.startswith("[") else one.strerror
    if any(isinstance(one, requests.Timeout | ConnectTimeoutError) for one in chain):
        return "no answer in time"
    if any(isinstance(one, ProtocolError) for one in chain):
        return "the connection was dropped"
    return str(chain[-1]).split("(", 1)[0].strip() or type(chain[-1]).__name__
