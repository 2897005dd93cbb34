"""HTTP towards one Jenkins, with manners.

Retries what may be repeated, fetches a crumb when one is asked for, follows no redirect with credentials to another
host, and turns whatever goes wrong into one line without a secret. Safe to share between threads: each has its own
session.
"""

from __future__ import annotations

import base64
import ipaddress
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast
from urllib.parse import urljoin, urlsplit

import requests
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies

from jenkins_admin.failures import bare, from_a_visitor, never_sent, reason, retry_after, root
from jenkins_admin.schema import Server
from jenkins_admin.shape import as_jenkins_writes
from stages.errors import ConfigError, InfraError

log = logging.getLogger("mlci")

#: Busy or briefly away. 502 and 504 come from a proxy that cannot tell whether Jenkins acted on the request.
_NOT_DONE = frozenset({429, 503})
_UNCLEAR = frozenset({502, 504})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_LONGEST_WAIT = 60.0
#: How a page begins where a document of Jenkins' was asked for, and what addresses of login pages look like.
_PAGE = re.compile(r"\s*(<!--.*?-->\s*)*<(!doctype\s+html|html)\b", re.IGNORECASE | re.DOTALL)
_LOGIN_PAGE = re.compile(r"log-?[io]n|sign-?in|auth|sso|saml|oidc|openid|securityRealm", re.IGNORECASE)


class JenkinsError(InfraError):
    """Jenkins said no, or did not answer. `status` is the HTTP status, 0 where there was none."""

    def __init__(self, code: str, what: str, todo: str, status: int = 0) -> None:
        super().__init__(code, what, todo)
        self.status = status


class Away(JenkinsError):
    """Jenkins did not answer, or said that it is starting: what follows a build waits for it."""


class _Wire:
    """A session for one request at a time, and the crumb that belongs to it."""

    def __init__(self) -> None:
        self.session = requests.Session()
        # Proxies and authorities of the environment are looked up once by the connection, not for each request.
        self.session.trust_env = False
        adapter = HTTPAdapter(pool_connections=2, pool_maxsize=2, max_retries=0)
        self.session.mount("http://", adapter)
        self.session.mount("https://", adapter)
        self.session.headers["User-Agent"] = "mlci-admin"
        self.crumb: dict[str, str] = {}


class Connection:
    """Requests to the Jenkins of `server`, relative to its address.

    `sleep` and `dice` (a number from 0 to 1) are for tests. A context manager; `close` ends idle connections.
    """

    def __init__(
        self,
        server: Server,
        base: Path | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        dice: Callable[[], float] = random.random,
    ) -> None:
        self.server = server
        self.url = server.url + "/"
        self._verify = _ca_file(server, base)
        self._proxies = get_environ_proxies(self.url)
        self._sleep, self._dice = sleep, dice
        self._idle: list[_Wire] = []
        self._lock = threading.Lock()
        self._secrets = _hidden(server)
        if server.token or server.password:
            self.check_encrypted()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End idle connections."""
        with self._lock:
            for wire in self._idle:
                wire.session.close()
            self._idle.clear()

    def check_encrypted(self) -> None:
        """Raises: ConfigError: JEN_PLAIN_HTTP: secrets would travel in clear to another host, and nobody allowed it."""
        if _is_open(self.server.url) and not self.server.allow_http:
            what = f"{self.server.url} would get secrets over unencrypted http"
            raise ConfigError(
                "JEN_PLAIN_HTTP", what, "use https, or say server.allow_http: true if the network is trusted"
            )

    # ---- requests ------------------------------------------------------------------------------------------------

    def get(
        self, path: str, *, accept: Collection[int] = (200,), patient: bool = True, **options: Any
    ) -> requests.Response:
        """GET; a read, so always repeated. `patient=False`: a Jenkins that is away is the caller's business at once."""
        return self.request("GET", path, accept=accept, repeat=patient, **options)

    def post(self, path: str, *, repeat: bool, accept: Collection[int] = (200,), **options: Any) -> requests.Response:
        """POST; `repeat` says whether doing it twice does no harm."""
        return self.request("POST", path, accept=accept, repeat=repeat, **options)

    def json(self, path: str, tree: str, *, patient: bool = True) -> dict[str, Any] | None:
        """The `tree` of an object's api/json; None where there is no such object. A tree that begins with `number` is
        that of a build, which has one. Raises: JenkinsError."""
        where = f"{path.rstrip('/')}/api/json".lstrip("/")
        response = self.get(where, params={"tree": tree}, accept=(200, 404), patient=patient)
        if response.status_code == 404:
            return None
        found = self.parsed(response)
        if not as_jenkins_writes(found, "number" if tree.startswith("number,") else ""):
            raise self.not_jenkins(response)
        return cast(dict[str, Any], found)

    def parsed(self, response: requests.Response) -> Any:
        """The JSON of an answer. Raises: JenkinsError: JEN_NOT_JENKINS: it is none."""
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise self.not_jenkins(response) from None

    def check_no_page(self, response: requests.Response) -> None:
        """Raises: JenkinsError: JEN_NOT_JENKINS: a page of HTML where Jenkins sends a document or a log."""
        if _PAGE.match(response.text):
            raise self.not_jenkins(response)

    def request(
        self,
        method: str,
        path: str,
        *,
        accept: Collection[int],
        repeat: bool,
        params: Mapping[str, str] | None = None,
        anonymous: bool = False,
        **content: Any,
    ) -> requests.Response:
        """One request and its answer, if its status is in `accept`; retried as far as `repeat` allows.

        `content`: `data`, `files`, `headers` and `stream` as requests takes them.

        Raises:
            JenkinsError: JEN_TLS, JEN_LOGIN, JEN_PERMISSION, JEN_NOT_FOUND, JEN_REDIRECT, JEN_REFUSED, JEN_SERVER.
            Away: JEN_UNREACHABLE, JEN_UNAVAILABLE after the last retry.
        """
        url = urljoin(self.url, path)
        attempt = 0
        while True:
            wait: float | None = None
            try:
                response = self._once(method, url, params, anonymous, **content)
            except requests.exceptions.SSLError as error:
                raise self._no_tls(error) from error
            except requests.RequestException as error:
                sent = not never_sent(error)
                failure: JenkinsError = self._unreachable(error, unclear=sent and not repeat and method != "GET")
                may_repeat = repeat or not sent
            else:
                if response.status_code in accept:
                    return response
                failure = self._refusal(method, response, anonymous)
                if response.status_code in _UNCLEAR and not repeat and method != "GET":
                    failure = self._unclear(failure)
                may_repeat = response.status_code in _NOT_DONE or (repeat and response.status_code in _UNCLEAR)
                wait = retry_after(response)
                response.close()
            if not may_repeat or attempt >= self.server.retries or (method == "GET" and not repeat):
                raise failure
            attempt += 1
            pause = wait if wait is not None else min(10.0, 0.25 * 2**attempt) * self._dice()
            log.debug("%s; again in %.1f s (%d of %d)", failure.what, pause, attempt, self.server.retries)
            self._sleep(min(pause, _LONGEST_WAIT))

    def _once(
        self,
        method: str,
        url: str,
        params: Mapping[str, str] | None,
        anonymous: bool,
        headers: Mapping[str, str] | None = None,
        **content: Any,
    ) -> requests.Response:
        """Send, fetching a crumb when Jenkins asks for one, and following redirects of reads."""
        asked = False
        with self._borrowed() as wire:
            for _ in range(6):
                own = _origin(url) == _origin(self.url)
                response = wire.session.request(
                    method,
                    url,
                    params=params,
                    **content,
                    headers={**(headers or {}), **(wire.crumb if own and method == "POST" else {})},
                    auth=self._authorise if own and not anonymous else _anonymous,
                    allow_redirects=False,
                    timeout=(10.0, self.server.timeout),
                    verify=self._verify if own else _environment_authority(),
                    proxies=self._proxies if own else get_environ_proxies(url),
                )
                # requests would guess, slowly and wrongly: config.xml names its charset inside, logs not at all.
                response.encoding = "utf-8"
                if method == "POST" and response.status_code == 403 and not asked and "crumb" in response.text.lower():
                    # An API token needs no crumb; a password's ends with its session. Once for each request: a
                    # crumb that is refused although it is new is not the trouble.
                    asked = True
                    if self._fetch_crumb(wire):
                        continue
                target = response.headers.get("Location")
                if method != "GET" or response.status_code not in REDIRECTS or not target:
                    return response
                target = urljoin(url, target)
                # Only files are kept elsewhere; a document that is, is the page of whoever stands in front.
                elsewhere = _origin(target) != _origin(self.url) and not content.get("stream")
                if _is_login(target) or elsewhere:
                    return response
                url, params = target, None
                response.close()
        raise requests.TooManyRedirects("redirected too often")

    @contextmanager
    def _borrowed(self) -> Iterator[_Wire]:
        """A session that nobody else uses meanwhile, with its connection and crumb; a new one when all are in use."""
        with self._lock:
            wire = self._idle.pop() if self._idle else None
        wire = wire or _Wire()
        try:
            yield wire
        finally:
            with self._lock:
                self._idle.append(wire)

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Set here and not on the session, so that neither ~/.netrc nor a redirect decides who gets it.
        secret = self.server.token or self.server.password
        if self.server.user and secret:
            pair = _basic(self.server.user, secret)
            request.headers["Authorization"] = f"Basic {pair}"
        return request

    def _fetch_crumb(self, wire: _Wire) -> bool:
        answer = wire.session.get(
            urljoin(self.url, "crumbIssuer/api/json"),
            auth=self._authorise,
            allow_redirects=False,
            timeout=(10.0, self.server.timeout),
            verify=self._verify,
            proxies=self._proxies,
        )
        try:
            found = answer.json() if answer.status_code == 200 else {}
            wire.crumb = {str(found["crumbRequestField"]): str(found["crumb"])}
        except (ValueError, KeyError, TypeError, RecursionError):
            return False
        return True

    # ---- what went wrong -----------------------------------------------------------------------------------------

    def redact(self, text: str) -> str:
        """`text` without this connection's secrets."""
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text

    def hide(self, secrets: Collection[str]) -> None:
        """Keep these texts out of messages as well."""
        self._secrets = tuple(sorted({*self._secrets, *(s for s in secrets if len(s) >= 4)}, key=len, reverse=True))

    def _error(self, code: str, what: str, todo: str, status: int = 0) -> JenkinsError:
        return JenkinsError(code, self.redact(what), todo, status)

    def _no_tls(self, error: requests.exceptions.SSLError) -> JenkinsError:
        cause = root(error)
        if "certificate" in str(error).lower():
            what, todo = "the certificate is not accepted", "give the authority that signed it as server.ca_file"
        else:
            what, todo = "no encrypted connection comes about", "check scheme and port of server.url: is it plain http?"
        return self._error("JEN_TLS", f"{self.server.url}: {what}: {cause}", todo)

    def _unreachable(self, error: requests.RequestException, unclear: bool = False) -> JenkinsError:
        cause = root(error)
        todo = "check server.url, the network and any proxy (HTTPS_PROXY, NO_PROXY)"
        failure = Away("JEN_UNREACHABLE", self.redact(f"{self.server.url} does not answer: {cause}"), todo)
        return self._unclear(failure) if unclear else failure

    def _unclear(self, failure: JenkinsError) -> JenkinsError:
        """The error for a write that may have been done, and is not repeated for that reason."""
        todo = "look before you repeat it: mlci-admin status, and the job's page in Jenkins"
        return Away(failure.code, f"{failure.what}; the request may have been carried out", todo, failure.status)

    def not_jenkins(self, response: requests.Response) -> JenkinsError:
        """The error for an answer that Jenkins does not give there: another program, or a login page in front."""
        return self._error(
            "JEN_NOT_JENKINS",
            f"{bare(response.url)} answers, but not as Jenkins does",
            "check server.url, its path included; a login page in front needs an exception for the API",
            response.status_code,
        )

    def not_done(self, response: requests.Response) -> JenkinsError:
        """The error for a write whose answer does not confirm it."""
        if response.status_code in REDIRECTS:
            return self._redirected(response)
        return self.not_jenkins(response)

    def stripped(self, status: int = 0) -> JenkinsError:
        """The error for a login that was sent and did not arrive."""
        what = f"Jenkins sees an anonymous visitor: the login of {self.server.user} does not reach it"
        todo = "a proxy in front removes the header Authorization: let it pass, or set server.url past it"
        return self._error("JEN_LOGIN", what, todo, status)

    def _redirected(self, response: requests.Response) -> JenkinsError:
        target = urljoin(response.url, response.headers.get("Location", ""))
        todo = "put the address that Jenkins really has into server.url"
        if _LOGIN_PAGE.search(bare(target)):
            todo = "a login page stands in front of Jenkins: it needs an exception for the API and its tokens"
        what = f"{bare(response.url)} is redirected to {bare(target)}"
        return self._error("JEN_REDIRECT", what, todo, response.status_code)

    def _refusal(self, method: str, response: requests.Response, anonymous: bool) -> JenkinsError:
        status, where = response.status_code, bare(response.url)
        said = self.redact(reason(response))
        if status == 401:
            what = f"{self.server.url} does not accept the user and token"
            todo = "make a new token in Jenkins (your name, Security, API Token) and set server.token to it"
            return self._error("JEN_LOGIN", what, todo, status)
        if status == 403 and not anonymous and self.server.user and from_a_visitor(response):
            return self.stripped(status)
        if status == 403:
            what = f"{self.server.user or 'an anonymous visitor'} may not {method} {where}{said}"
            todo = "ask an administrator for the permission; mlci-admin doctor lists what is missing"
            return self._error("JEN_PERMISSION", what, todo, status)
        if status == 404:
            todo = "check the name and the folder; mlci-admin plan shows what exists"
            return self._error("JEN_NOT_FOUND", f"{where} is not there", todo, status)
        if status in REDIRECTS:
            return self._redirected(response)
        if status in _NOT_DONE | _UNCLEAR:
            todo = "Jenkins is starting, busy, or behind a proxy that cannot reach it: try again later"
            return Away("JEN_UNAVAILABLE", f"{where}: {status}{said}", todo, status)
        if status >= 500:
            todo = "the controller's log has the details (Manage Jenkins, System Log)"
            return self._error("JEN_SERVER", f"{method} {where}: {status}{said}", todo, status)
        todo = "correct what Jenkins names, then repeat"
        return self._error("JEN_REFUSED", f"{method} {where}: {status}{said}", todo, status)


def is_loopback(host: str) -> bool:
    """Whether a host name or address means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _is_open(url: str) -> bool:
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _ca_file(server: Server, base: Path | None) -> bool | str:
    if server.ca_file is None:
        return _environment_authority()
    path = (base or Path()) / Path(server.ca_file).expanduser()
    if not path.is_file():
        raise ConfigError(
            "CFG_VALUE", f"server.ca_file: {path} is no file", "give the authority's certificate in PEM form"
        )
    return str(path)


def _environment_authority() -> bool | str:
    return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True


def _hidden(server: Server) -> tuple[str, ...]:
    secret = server.token or server.password
    if not secret:
        return ()
    return (_basic(server.user or "", secret), secret)


def _basic(user: str, secret: str) -> str:
    # A variable may hold bytes that are no text.
    return base64.b64encode(f"{user}:{secret}".encode(errors="surrogateescape")).decode()


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(url)
    port = parts.port or {"http": 80, "https": 443}.get(parts.scheme, 0)
    return parts.scheme, parts.hostname or "", port


def _anonymous(request: requests.PreparedRequest) -> requests.PreparedRequest:
    request.headers.pop("Authorization", None)
    request.headers.pop("Cookie", None)
    return request


def _is_login(url: str) -> bool:
    return "/login" in urlsplit(url).path or "/securityRealm/" in urlsplit(url).path
