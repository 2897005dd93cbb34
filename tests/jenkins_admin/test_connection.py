"""Manners on the wire."""

from __future__ import annotations

import http.server
import logging
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jenkins as python_jenkins
import pytest

from jenkins_admin import Admin
from jenkins_admin.connection import Away, Connection, JenkinsError, is_loopback
from jenkins_admin.schema import Server
from stages.errors import ConfigError
from tests.jenkins_admin.conftest import YAML, Open
from tests.jenkins_admin.double.server import PASSWORD, TOKEN, USER, Double

FOLDER = b"<com.cloudbees.hudson.plugins.folder.Folder/>"


def connection(jenkins: Double, **options: object) -> Connection:
    naps: list[float] = []
    made = Connection(
        Server.model_validate({"url": jenkins.url, "user": USER, "token": TOKEN, **options}),
        sleep=naps.append,
        dice=lambda: 1.0,
    )
    made.naps = naps  # type: ignore[attr-defined]
    return made


@pytest.mark.parametrize("kind", [429, 502, 503, 504, "drop", "lost"])
def test_a_read_is_repeated_with_growing_pauses(jenkins: Double, kind: int | str) -> None:
    jenkins.fail(kind, times=3)
    with connection(jenkins) as wire:
        assert wire.json("whoAmI", "name") == {"_class": "hudson.security.WhoAmI", "name": USER}
        assert wire.naps == [0.5, 1.0, 2.0]  # type: ignore[attr-defined]


def test_retries_end(jenkins: Double) -> None:
    jenkins.fail(503, times=100)
    with connection(jenkins, retries=2) as wire, pytest.raises(Away) as caught:
        wire.json("whoAmI", "name")
    assert (caught.value.code, caught.value.exit_code) == ("JEN_UNAVAILABLE", 5)
    assert len(jenkins.requests) == 3


def test_retry_after_is_obeyed_up_to_a_minute(jenkins: Double) -> None:
    jenkins.fail(429, retry_after=7)
    jenkins.fail(429, retry_after=7000)
    with connection(jenkins) as wire:
        wire.json("whoAmI", "name")
        assert wire.naps == [7.0, 60.0]  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", [502, 504, "lost", "drop"])
def test_a_build_is_never_started_twice(admin: Admin, jenkins: Double, kind: int | str) -> None:
    """Whether the request arrived is unclear: better to say so than to deploy twice."""
    admin.apply()
    jenkins.fail(kind, method="POST", path="buildWithParameters")
    with pytest.raises(Away):
        admin.trigger("nightly")
    assert sum("buildWithParameters" in path for _, path in jenkins.requests) == 1


@pytest.mark.parametrize("kind", [429, 503])
def test_a_refused_start_is_repeated(admin: Admin, jenkins: Double, kind: int) -> None:
    admin.apply()
    jenkins.fail(kind, method="POST", path="buildWithParameters")
    admin.trigger("nightly")
    assert len(jenkins.state.queue) == 1


def test_nobody_listens() -> None:
    server = Server.model_validate({"url": "http://127.0.0.1:1", "retries": 2})
    naps: list[float] = []
    with Connection(server, sleep=naps.append) as wire, pytest.raises(Away) as caught:
        wire.post("job/x/build", repeat=False)
    assert caught.value.code == "JEN_UNREACHABLE"
    assert "connection refused" in caught.value.what
    assert len(naps) == 2, "never sent, so it may be repeated"


REFUSALS = {401: "LOGIN", 403: "PERMISSION", 404: "NOT_FOUND", 500: "SERVER", 400: "REFUSED"}


@pytest.mark.parametrize(("kind", "code"), [(kind, f"JEN_{name}") for kind, name in REFUSALS.items()])
def test_each_refusal_has_a_code_and_a_way_out(jenkins: Double, kind: int, code: str) -> None:
    jenkins.fail(kind)
    with connection(jenkins) as wire, pytest.raises(JenkinsError) as caught:
        wire.get("job/x/config.xml", params={"secretish": "value"})
    error = caught.value
    assert (error.code, error.status, error.exit_code) == (code, kind, 5)
    assert error.todo
    assert "\n" not in error.what + error.todo
    assert "secretish" not in error.what, "addresses are shown without what the user put into them"
    assert len(jenkins.requests) == 1


def test_a_long_page_becomes_a_line(jenkins: Double) -> None:
    def create(name: str, body: bytes) -> str:
        headers = {"Content-Type": "application/xml"}
        with connection(jenkins) as wire, pytest.raises(JenkinsError) as caught:
            wire.post("createItem", params={"name": name}, data=body, headers=headers, repeat=True)
        return caught.value.what

    jenkins.state.create("", "ml", FOLDER, "application/xml")
    assert create("ml", FOLDER).endswith("createItem: 400: A job already exists with the name ml")
    assert create("x", b"<oops").endswith("500: Failed to read XML")


def test_something_else_answers(jenkins: Double) -> None:
    class Portal(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>please log in</html>")

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with serving(Portal) as url, Connection(Server(url=url)) as wire, pytest.raises(JenkinsError) as caught:
        wire.json("whoAmI", "name")
    assert caught.value.code == "JEN_NOT_JENKINS"


# ---- login -------------------------------------------------------------------------------------------------------


def test_a_token_costs_no_crumb(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    assert not any("crumb" in path for _, path in jenkins.requests)


def test_a_password_gets_a_crumb_for_its_session_and_a_new_one_when_that_expires(
    open_admin: Open, jenkins: Double
) -> None:
    text = YAML.replace('token: "${JENKINS_TOKEN}"', 'password: "${PASSWORD}"')
    admin = open_admin(text, "server.workers=1", PASSWORD=PASSWORD)
    admin.apply()
    assert sum("crumbIssuer" in path for _, path in jenkins.requests) == 1
    jenkins.restart()
    jenkins.forget()
    admin.apply()
    admin.trigger("nightly")
    assert sum("crumbIssuer" in path for _, path in jenkins.requests) == 1
    assert len(jenkins.state.queue) == 1


def test_a_wrong_token_says_so_and_does_not_show_it(jenkins: Double) -> None:
    with connection(jenkins, token="wrong-token-0123456789") as wire, pytest.raises(JenkinsError) as caught:
        wire.json("whoAmI", "name")
    assert caught.value.code == "JEN_LOGIN"
    assert "wrong-token" not in caught.value.what + caught.value.todo


def test_a_secret_that_jenkins_repeats_is_cut_out(jenkins: Double) -> None:
    with connection(jenkins) as wire:
        wire.hide(["api-secret-1"])
        assert wire.redact(f"{TOKEN} api-secret-1 x") == "*** *** x"


def test_nothing_secret_is_logged(open_admin: Open, jenkins: Double, caplog: pytest.LogCaptureFixture) -> None:
    jenkins.fail(503, times=2)
    ours = logging.getLogger("mlci")
    ours.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.DEBUG), caplog.at_level(logging.DEBUG, "mlci"):
            open_admin().apply()
    finally:
        ours.removeHandler(caplog.handler)
    assert "again in" in caplog.text
    assert not any(secret in caplog.text for secret in (TOKEN, "git-secret-1", "api-secret-1", "Basic"))


def test_netrc_is_not_asked(jenkins: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login mallory password x\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    with connection(jenkins) as wire:
        assert wire.json("whoAmI", "name") is not None


# ---- where credentials go ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["http://jenkins.example.com", "http://10.0.0.1:8080/jenkins"])
def test_plain_http_to_another_host_is_refused_for_a_token(url: str) -> None:
    options = {"url": url, "user": USER, "token": TOKEN}
    with pytest.raises(ConfigError) as caught, Connection(Server.model_validate(options)):
        pytest.fail("it was opened")
    assert (caught.value.code, caught.value.exit_code) == ("JEN_PLAIN_HTTP", 2)
    Connection(Server.model_validate(options | {"allow_http": True})).check_encrypted()
    anonymous = Connection(Server(url=url))
    with pytest.raises(ConfigError):
        anonymous.check_encrypted()


def test_what_loopback_is() -> None:
    assert all(is_loopback(host) for host in ("localhost", "127.8.0.1", "::1", "a.localhost"))
    assert not any(is_loopback(host) for host in ("10.0.0.1", "localhost.example.com", "0.0.0.0", ""))


def test_a_redirect_to_another_host_gets_no_credentials(admin: Admin, jenkins: Double) -> None:
    got: list[dict[str, str]] = []

    class Store(_Hello):
        def do_GET(self) -> None:
            got.append(dict(self.headers.items()))
            super().do_GET()

    with serving(Store) as url:
        jenkins.fail("redirect", path="artifact", target=f"{url}/bucket/a.txt")
        assert admin.server.artifact("ml/x", 1, "a.txt").json() == {"name": "tls"}
    assert len(got) == 1
    assert not {"Authorization", "Cookie"} & set(got[0])
    assert jenkins.authorisations[-1].startswith("Basic ")


def test_a_redirect_within_jenkins_keeps_them(jenkins: Double) -> None:
    jenkins.fail("redirect", target="/whoAmI/api/json?tree=name")
    with connection(jenkins) as wire:
        assert wire.get("old").json()["name"] == USER


def test_a_redirected_write_is_not_followed(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.fail("redirect", method="POST", target="https://elsewhere.example.com/x")
    with pytest.raises(JenkinsError) as caught:
        admin.server.update("ml/nightly", b"<flow-definition/>")
    assert caught.value.code == "JEN_REDIRECT"
    assert "https://elsewhere.example.com/x" in caught.value.what


def test_redirects_in_a_circle_end(jenkins: Double) -> None:
    jenkins.fail("redirect", times=100, target="/again")
    with connection(jenkins, retries=0) as wire, pytest.raises(JenkinsError):
        wire.get("start")
    assert len(jenkins.requests) <= 7


# ---- TLS ---------------------------------------------------------------------------------------------------------


@contextmanager
def serving(handler: type[http.server.BaseHTTPRequestHandler], context: ssl.SSLContext | None = None) -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.handle_error = lambda *_: None  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    scheme = "https" if context is not None else "http"
    try:
        yield f"{scheme}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that signed itself, with its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    options = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=127.0.0.1"
    names = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([openssl, *options.split(), *names], cwd=folder, check=True, capture_output=True)
    path = folder / "server.pem"
    path.write_text((folder / "cert.pem").read_text() + (folder / "key.pem").read_text())
    return path


class _Hello(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b'{"name": "tls"}')

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_an_authority_of_ones_own(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(_Hello, context) as url:
        with Connection(Server(url=url, retries=0)) as wire, pytest.raises(JenkinsError) as caught:
            wire.json("whoAmI", "name")
        assert caught.value.code == "JEN_TLS"
        assert "server.ca_file" in caught.value.todo
        server = Server(url=url, ca_file=certificate.name)
        with Connection(server, certificate.parent) as wire:
            assert wire.json("whoAmI", "name") == {"name": "tls"}


def test_the_authority_file_has_to_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="ca_file"):
        Connection(Server(url="https://x", ca_file="missing.pem"), tmp_path)


# ---- python-jenkins over it --------------------------------------------------------------------------------------


def test_python_jenkins_works_over_the_same_connection(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.forget()
    client = admin.jenkins
    assert isinstance(client, python_jenkins.Jenkins)
    assert client.get_job_name("ml/nightly") == "nightly"
    assert "flow-definition" in client.get_job_config("ml/nightly")
    client.reconfig_job("ml/nightly", "<flow-definition><description>é</description></flow-definition>")
    assert "é" in client.get_job_config("ml/nightly")
    assert len(jenkins.requests) == 4, "no crumb, no question beforehand"
    with pytest.raises(python_jenkins.NotFoundException):
        client.get_job_config("ml/nothing")
    jenkins.fail(503)
    assert client.get_job_name("ml/nightly") == "nightly"


def test_threads_do_not_share_a_session(jenkins: Double) -> None:
    with connection(jenkins) as wire:
        failures: list[Exception] = []

        def work() -> None:
            try:
                for _ in range(20):
                    assert wire.json("whoAmI", "name") is not None
            except Exception as error:  # noqa: BLE001  a thread hands its failure over
                failures.append(error)

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []


def test_connections_are_used_again(admin: Admin, jenkins: Double) -> None:
    ports = set()
    process = jenkins._server.process_request

    def counting(request: Any, client_address: Any) -> None:
        ports.add(client_address)
        process(request, client_address)

    jenkins._server.process_request = counting  # type: ignore[method-assign]
    for _ in range(5):
        admin.apply()
    assert len(ports) <= 3, "as many as there were requests at once"


def test_closing_ends_idle_connections_and_may_be_followed_by_more(jenkins: Double) -> None:
    wire = connection(jenkins)
    wire.json("whoAmI", "name")
    wire.close()
    assert wire.json("whoAmI", "name") is not None
    wire.close()


def test_the_proxy_of_the_environment_is_used(jenkins: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    """The double stands in for a proxy: it is asked for the whole address."""
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", jenkins.url)
    server = Server(url="http://jenkins.invalid", user=USER, token=TOKEN, allow_http=True)
    with Connection(server) as wire:
        assert wire.json("whoAmI", "name") is not None
    monkeypatch.setenv("no_proxy", "jenkins.invalid")
    with Connection(server, sleep=lambda _: None) as wire, pytest.raises(Away, match="its name is not known"):
        wire.json("whoAmI", "name")
