"""A Jenkins to test against: real HTTP, recorded behaviour, faults and latency on demand.

It listens on 127.0.0.1, on a port that the system chooses. What it does is checked against `../recorded` by
`../test_double.py`.
"""

from __future__ import annotations

import base64
import html
import json
import re
import secrets
import socket
import sys
import threading
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast
from urllib.parse import parse_qs, quote, unquote, urlsplit

from jenkins_admin import xmltree
from tests.jenkins_admin.double import tree
from tests.jenkins_admin.double.saving import MULTIBRANCH
from tests.jenkins_admin.double.state import RUN, TYPE_NAMES, Build, Item, QueueItem, Rejected, Script, State

VERSION = "2.421"
USER, TOKEN, PASSWORD = "admin", "11aabbccddeeff00112233445566778899", "correct horse"
_HTML, _JETTY = "text/html;charset=utf-8", "text/html;charset=iso-8859-1"
_JSON, _TEXT = "application/json;charset=utf-8", "text/plain;charset=utf-8"
#: What Jenkins leaves as it is in addresses that it writes.
_UNESCAPED = "!$&'()*+,-.=@_~"
_ITEM = re.compile(r"/job/([^/]+)")

PLUGINS = {
    "cloudbees-folder": "6.848.ve3b_fd7839a_81",
    "credentials": "1271.v54b_1c2c6388a_",
    "plain-credentials": "143.v1b_df8b_d3b_e48",
    "ssh-credentials": "308.ve4497b_ccd8f4",
    "git": "5.2.0",
    "pipeline-groovy-lib": "685.v8ee9ed91d574",
    "workflow-cps": "3774.v4a_d648d409ce",
    "workflow-job": "1342.v046651d5b_dfe",
    "workflow-multibranch": "756.v891d88f2cd46",
    "branch-api": "2.1122.v09cb_8ea_8a_724",
    "workflow-durable-task-step": "1289.v4d3e7b_01546b_",
    "pipeline-input-step": "477.v339683a_8d55e",
    "pipeline-rest-api": "2.33",
    "junit": "1240.vf9529b_881428",
    "credentials-binding": "631.v861c06d062b_4",
    "htmlpublisher": "1.32",
}


@dataclass
class Fault:
    """What goes wrong with the next `times` requests of a method whose path matches.

    `kind`: a status; `drop` (no answer, nothing done), `lost` (done, but no answer); or `redirect` to `target`.
    """

    kind: int | str
    method: str = ""
    path: str = ""
    times: int = 1
    retry_after: int | None = None
    target: str = ""


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    content_type: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    jenkins: bool = False


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    body: bytes
    headers: Any
    authorised: str = ""

    @property
    def files(self) -> dict[str, tuple[str, bytes]]:
        """Uploads by name: file name and content."""
        return {name: (file, data) for name, file, data in self._parts() if file is not None}

    def _parts(self) -> list[tuple[str, str | None, bytes]]:
        """Name, file name and content of each part of a multipart form."""
        kind = self.headers.get("Content-Type") or ""
        if not kind.startswith("multipart/form-data"):
            return []
        message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {kind}\r\n\r\n".encode() + self.body)
        return [
            (
                str(part.get_param("name", header="content-disposition")),
                part.get_filename(),
                cast(bytes, part.get_payload(decode=True)),
            )
            for part in message.iter_parts()
        ]

    @property
    def form(self) -> dict[str, str]:
        if (self.headers.get("Content-Type") or "").startswith("multipart/form-data"):
            return {name: data.decode() for name, file, data in self._parts() if file is None}
        found = parse_qs(self.body.decode(), keep_blank_values=True, encoding="utf-8")
        return {name: values[0] for name, values in found.items()}


class Double:
    """Start with `with Double() as jenkins`; `jenkins.url`, `jenkins.state` and what follows are for tests."""

    def __init__(self, latency: float = 0.0) -> None:
        self.state = State()
        self.latency = latency
        self.faults: list[Fault] = []
        self.requests: list[tuple[str, str]] = []
        self.bodies: list[bytes] = []
        self.counts: Counter[str] = Counter()
        self.plugins = dict(PLUGINS)
        self.errors: list[str] = []
        self.forbidden: list[tuple[str, str]] = []
        self.authorisations: list[str] = []
        self._crumbs: dict[str, str] = {}
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.double = self
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Double:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        if self.errors:
            raise AssertionError("the double failed:\n" + "\n".join(self.errors))

    # ---- for tests -----------------------------------------------------------------------------------------------

    @property
    def writes(self) -> list[tuple[str, str]]:
        return [(method, path) for method, path in self.requests if method != "GET"]

    def forget(self) -> None:
        """Start counting anew."""
        self.requests.clear()
        self.bodies.clear()
        self.authorisations.clear()

    def fail(self, kind: int | str, **options: Any) -> None:
        self.faults.append(Fault(kind, **options))

    def restart(self) -> None:
        """What lives in memory is gone: sessions and their crumbs."""
        with self._lock:
            self._crumbs.clear()

    def script(self, path: str, script: Script) -> None:
        """How the next build of a job goes."""
        self.state.item(path).scripts.append(script)

    def branch(self, project: str, name: str) -> str:
        """A branch job of a multibranch project, as a scan would make it; returns its path."""
        # As jenkins.branch.NameEncoder does.
        whole = {".": "%2E", "..": "%2E."}
        quoted = whole.get(name) or "".join(quote(c, safe="") if c in "#%/?[]\\" else c for c in name)
        xml = b"<flow-definition/>"
        self.state.item(project).children[quoted.lower()] = Item(quoted, xml, xmltree.parse(xml))
        return f"{project}/{quoted}"

    # ---- requests ------------------------------------------------------------------------------------------------

    def handle(self, request: Request) -> Reply | None:
        """The reply, or None to drop the connection."""
        shown = request.path + ("?" + "&".join(f"{k}={v}" for k, v in request.query.items()) if request.query else "")
        with self._lock:
            self.requests.append((request.method, shown))
            self.bodies.append(request.body)
            self.authorisations.append(request.headers.get("Authorization") or "")
            fault = self._fault(request)
            if fault is not None and fault.kind == "drop":
                return None
            if fault is not None and fault.kind == "redirect":
                return Reply(302, headers={"Location": fault.target})
            if fault is not None and isinstance(fault.kind, int):
                headers = {"Retry-After": str(fault.retry_after)} if fault.retry_after is not None else {}
                return Reply(fault.kind, b"<html><title>busy</title></html>", _HTML, headers)
            try:
                reply = self._guard(request) or self._route(request)
            except Rejected as error:
                reply = _rejection(error, request.path)
            return None if fault is not None else reply

    def _fault(self, request: Request) -> Fault | None:
        for fault in self.faults:
            if fault.method in ("", request.method) and re.search(fault.path, request.path):
                fault.times -= 1
                if fault.times <= 0:
                    self.faults.remove(fault)
                return fault
        return None

    def _guard(self, request: Request) -> Reply | None:
        """Login, crumb and permissions."""
        given = request.headers.get("Authorization", "")
        if not given:
            if request.path == "/login":
                return None
            where = quote(request.path, safe="")
            page = (
                f"<html><head><meta http-equiv='refresh' content='1;url=/login?from={where}'/>"
                f"<script>window.location.replace('/login?from={where}');</script></head>"
                "<body style='background-color:white; color:white;'>\n\n\nAuthentication required\n<!--\n-->"
                "\n\n</body></html>"
            )
            return Reply(403, page.encode(), _HTML, jenkins=True)
        user, _, secret = base64.b64decode(given.removeprefix("Basic ")).decode().partition(":")
        if user != USER or secret not in (TOKEN, PASSWORD):
            refusal = _error_page(401, "Unauthorized", request.path)
            return Reply(401, refusal, _JETTY, {"WWW-Authenticate": 'Basic realm="Jenkins"'})
        request.authorised = user
        if request.method != "GET" and secret == PASSWORD and request.path != "/crumbIssuer/api/json":
            session = _cookie(request)
            if self._crumbs.get(session) is None or request.headers.get("Jenkins-Crumb") != self._crumbs[session]:
                return Reply(403, _error_page(403, "No valid crumb was included in the request", request.path), _JETTY)
        for method, pattern in self.forbidden:
            if method == request.method and re.search(pattern, request.path):
                return Reply(403, b"<html><title>Access Denied</title></html>", _HTML, jenkins=True)
        return None

    def _route(self, request: Request) -> Reply:
        path, names, at = request.path, [], 0
        while (match := _ITEM.match(path, at)) is not None:
            names.append(unquote(match.group(1)))
            at = match.end()
        item, rest = "/".join(names), path[at:].strip("/")
        simple = {
            "login": lambda: Reply(200, b"<html>login</html>", _HTML, jenkins=True),
            "whoAmI/api/json": lambda: self._json(request, self._who()),
            "crumbIssuer/api/json": lambda: self._crumb(request),
            "pluginManager/api/json": lambda: self._json(request, self._plugin_list()),
            "computer/api/json": lambda: self._json(request, _COMPUTERS),
            "pipeline-model-converter/validate": lambda: self._lint(request),
            "queue/cancelItem": lambda: self._cancel(request),
        }
        if not item and rest in simple:
            return simple[rest]()
        queued = re.fullmatch(r"queue/item/(\d+)/api/json", rest)
        if not item and queued:
            return self._json(request, self._queue_item(self.state.look_at_queue(int(queued.group(1)))))
        return self._item(request, item, rest)

    # ---- items ---------------------------------------------------------------------------------------------------

    def _item(self, request: Request, item: str, rest: str) -> Reply:
        state = self.state
        if rest in ("api/json", ""):
            return self._json(request, self._describe(item, state.item(item)))
        if rest == "config.xml":
            if request.method == "POST":
                state.update(item, request.body)
                return Reply()
            return Reply(200, state.config(item), "application/xml")
        if rest == "createItem":
            state.create(item, request.query.get("name"), request.body, request.headers.get("Content-Type"))
            return Reply()
        if rest == "doDelete":
            state.delete(item)
            return Reply(302, headers={"Location": self._address(item.rpartition("/")[0])})
        if rest.startswith("credentials/store/folder/domain/_"):
            return self._credentials(request, item, rest.removeprefix("credentials/store/folder/domain/_").strip("/"))
        if rest.startswith("descriptorByName/"):
            return self._library(request, item)
        if rest in ("build", "buildWithParameters"):
            return self._build_now(request, item, rest)
        number, _, what = rest.partition("/")
        if re.fullmatch(r"\d+|last[A-Za-z]*", number):
            return self._build(request, item, state.build(item, number), what)
        raise Rejected(404)

    def _describe(self, path: str, item: Item) -> dict[str, Any]:
        def runs() -> list[dict[str, Any]]:
            return [self._run(path, build) for build in reversed(item.builds)]

        def run(number: str) -> Any:
            try:
                return self._run(path, self.state.build(path, number))
            except Rejected:
                return None

        def properties() -> list[dict[str, Any]]:
            cls = "hudson.model.ParametersDefinitionProperty"
            return [{"_class": cls, "parameterDefinitions": item.parameters}] if item.parameters else []

        disabled = item.root.findtext("disabled") == "true"
        found = {
            "_class": "hudson.model.Hudson" if not path else item.cls,
            "name": item.name,
            "url": self._address(path),
            "description": xmltree.decoded(item.root.findtext("description")) or None,
            "buildable": not disabled,
            "color": "disabled" if disabled else "notbuilt",
            "property": properties,
            "jobs": lambda: [
                self._describe(f"{path}/{child.name}".strip("/"), child) for child in item.children.values()
            ],
            "builds": runs,
            "lastBuild": lambda: run("lastBuild"),
            "lastSuccessfulBuild": lambda: run("lastSuccessfulBuild"),
        }
        if item.root.tag in ("flow-definition", "project"):
            del found["jobs"]
        return found

    def _credentials(self, request: Request, folder: str, rest: str) -> Reply:
        if rest == "api/json":
            found = [
                {
                    "description": xmltree.decoded(one.findtext("description")),
                    "displayName": xmltree.decoded(one.findtext("description")) or id_,
                    "id": id_,
                    "typeName": TYPE_NAMES.get(one.tag, one.tag),
                }
                for id_, one in self.state.item(folder).credentials.items()
            ]
            cls = "com.cloudbees.plugins.credentials.CredentialsStoreAction$DomainWrapper"
            return self._json(request, {"_class": cls, "credentials": found})
        if rest == "createCredentials":
            return Reply(200 if self.state.store(folder, request.body) else 409)
        match = re.fullmatch(r"credential/([^/]+)/config\.xml", rest)
        if match is None:
            raise Rejected(404)
        id_ = unquote(match.group(1))
        if request.method == "POST":
            self.state.store(folder, request.body, id_)
            return Reply()
        if request.method == "DELETE":
            if self.state.item(folder).credentials.pop(id_, None) is None:
                raise Rejected(404)
            self.state.save(folder)
            return Reply()
        return Reply(200, self.state.redacted(folder, id_), "application/xml")

    def _library(self, request: Request, folder: str) -> Reply:
        name = request.query.get("name", "")
        saved = self.state.item(folder).root.iterfind(".//org.jenkinsci.plugins.workflow.libs.LibraryConfiguration")
        if not any(one.findtext("name") == name for one in saved):
            said = "Cannot validate default version until after saving and reconfiguring."
            return Reply(200, f'<div class="ok">{said}</div>'.encode(), _HTML)
        version = request.query.get("defaultVersion", "")
        if version.startswith("missing"):
            said = (
                f"Attempting to resolve {version} from remote references...<br>ERROR: Could not resolve {version}<br>"
            )
            page = f'<div class="warning">Revision seems invalid:<br>{said}\tat hudson.Git<br></div>'
            return Reply(200, page.encode(), _HTML)
        if version.startswith("unreachable"):
            # As Jenkins 2.503 says it.
            page = (
                "<div class=\"warning\">Cannot validate default version. </div><div><a href='#' class='showDetails'>"
                "(show details)</a><pre style='display:none'>hudson.plugins.git.GitException: Command &quot;git "
                "ls-remote -h -t -- file:///nowhere&quot; returned status code 128:<br>stdout: <br>stderr: fatal: "
                "&#039;/nowhere&#039; does not appear to be a git repository<br>\tat hudson.Git<br></pre></div>"
            )
            return Reply(200, page.encode(), _HTML)
        return Reply(200, b'<div class="ok">Currently maps to revision: 0123abc</div>', _HTML)

    # ---- builds --------------------------------------------------------------------------------------------------

    def _build_now(self, request: Request, item: str, verb: str) -> Reply:
        found = self.state.item(item)
        if found.root.findtext("disabled") == "true":
            raise Rejected(409, "", f"{item} is not buildable")
        if found.root.tag == MULTIBRANCH:  # it looks for branches, and names no queue item
            return Reply(302, headers={"Location": self._address(item)})
        given = request.form if verb == "buildWithParameters" else None
        queued = self.state.enqueue(item, given, request.files)
        return Reply(201, headers={"Location": f"{self.url}/queue/item/{queued.id}/"})

    def _run(self, path: str, build: Build) -> dict[str, Any]:
        parameters = [
            {"_class": "hudson.model.StringParameterValue", "name": name, "value": value}
            for name, value in build.parameters
        ]
        actions = [{"_class": "hudson.model.ParametersAction", "parameters": parameters}] if parameters else []
        files = build.script.artifacts
        return {
            "_class": RUN,
            "number": build.number,
            "queueId": build.queue_id,
            "url": f"{self._address(path)}{build.number}/",
            "building": build.building,
            "result": build.result,
            "duration": 0 if build.building else build.duration,
            "estimatedDuration": -1,
            "description": build.description,
            "timestamp": build.timestamp,
            "actions": [*actions, {"_class": "hudson.model.CauseAction"}],
            "artifacts": [{"fileName": name.rpartition("/")[2], "relativePath": name} for name in files],
            "fingerprint": [
                {"fileName": name.rpartition("/")[2], "hash": _md5(content)} for name, content in files.items()
            ],
        }

    def _build(self, request: Request, item: str, build: Build, what: str) -> Reply:
        if what == "api/json":
            return self._json(request, self._run(item, build))
        if what == "logText/progressiveText":
            build.advance()
            start = int(request.query.get("start", "0"))
            headers = {"X-Text-Size": str(build.size(build.shown))}
            if build.building:
                headers["X-More-Data"] = "true"
            return Reply(200, build.text(start), _TEXT, headers)
        if what == "stop":
            build.result = build.result or "ABORTED"
            return Reply(302, headers={"Location": f"{self._address(item)}{build.number}/"})
        if what == "submitDescription":
            build.description = request.form.get("description")
            return Reply(302, headers={"Location": f"{self._address(item)}{build.number}/"})
        if what.startswith("artifact/"):
            name = unquote(what.removeprefix("artifact/"))
            if name not in build.script.artifacts:
                raise Rejected(404)
            return Reply(200, build.script.artifacts[name], "application/octet-stream")
        if what.partition("/")[0] in ("wfapi", "input"):
            return self._input(request, item, build, what)
        raise Rejected(404)

    def _input(self, request: Request, item: str, build: Build, what: str) -> Reply:
        where = urlsplit(f"{self._address(item)}{build.number}").path
        asked = build.question
        if what == "wfapi/pendingInputActions" and "pipeline-rest-api" in self.plugins:
            found = [] if asked is None else [_pending(asked, where)]
            return Reply(200, json.dumps(found).encode(), _JSON)
        if what == "wfapi/describe" and "pipeline-rest-api" in self.plugins:
            times = {"startTimeMillis": build.timestamp, "endTimeMillis": build.timestamp + build.duration}
            head = {"id": str(build.number), "name": f"#{build.number}", "status": build.result or "IN_PROGRESS"}
            tail = {"durationMillis": build.duration, "queueDurationMillis": 4, "pauseDurationMillis": 0, "stages": []}
            links = {"_links": {"self": {"href": f"{where}/wfapi/describe"}}}
            return Reply(200, json.dumps(links | head | times | tail).encode(), _JSON)
        if asked is None or what.startswith("wfapi/"):
            raise Rejected(404)
        if what.strip("/") == "input":
            fields = "".join(f'<input name="name" type="hidden" value="{f["name"]}">' for f in asked.get("inputs", []))
            page = f'<form method="post" name="{asked["id"]}" action="{quote(asked["id"])}/submit">{fields}</form>'
            return Reply(200, page.encode(), _HTML, jenkins=True)
        _, id_, verb = what.split("/")
        if unquote(id_) != asked["id"]:
            raise Rejected(404)
        # What is not sent stays out of the answer: Jenkins fills in no default.
        answer: dict[str, Any] = {"verb": verb}
        if verb == "submit":
            answer["values"] = {p["name"]: p["value"] for p in json.loads(request.form["json"])["parameter"]}
        build.answers.append(answer)
        build.question = None
        if verb == "abort":
            build.result = "ABORTED"
        if verb == "submit":
            return Reply(302, headers={"Location": f"{self._address(item)}{build.number}/console"})
        return Reply()

    # ---- queue and controller ------------------------------------------------------------------------------------

    def _queue_item(self, queued: QueueItem) -> dict[str, Any]:
        state = "LeftItem" if queued.build or queued.cancelled else "BuildableItem"
        cause = {
            "_class": "hudson.model.Cause$UserIdCause",
            "shortDescription": f"Started by user {USER}",
            "userId": USER,
            "userName": USER,
        }
        parameters = [
            {"_class": "hudson.model.StringParameterValue", "name": name, "value": value}
            for name, value in queued.parameters
        ]
        actions: list[dict[str, Any]] = []
        if parameters:
            actions.append({"_class": "hudson.model.ParametersAction", "parameters": parameters})
        actions.append({"_class": "hudson.model.CauseAction", "causes": [cause]})
        found: dict[str, Any] = {
            "_class": f"hudson.model.Queue${state}",
            "actions": actions,
            "blocked": False,
            "buildable": state == "BuildableItem",
            "id": queued.id,
            "inQueueSince": 1_795_410_497_161,
            "params": "".join(f"\n{name}={value}" for name, value in queued.parameters),
            "stuck": False,
            "task": {
                "_class": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
                "name": queued.path.rpartition("/")[2],
                "url": self._address(queued.path),
                "color": "notbuilt_anime" if queued.build and queued.build.building else "notbuilt",
            },
            "url": f"queue/item/{queued.id}/",
            "why": None if state == "LeftItem" else queued.script.why,
        }
        if state == "LeftItem":
            found["cancelled"] = queued.cancelled
        if queued.build is not None:
            url = f"{self._address(queued.path)}{queued.build.number}/"
            found["executable"] = {"_class": RUN, "number": queued.build.number, "url": url}
        return found

    def _cancel(self, request: Request) -> Reply:
        queued = self.state.queue.get(int(request.query["id"]))
        if queued is None or queued.build is not None:
            raise Rejected(404)
        queued.cancelled = True
        return Reply(204)

    def _lint(self, request: Request) -> Reply:
        text = request.form.get("jenkinsfile", "")
        if "stages" in text:
            return Reply(200, b"Jenkinsfile successfully validated.\n", _TEXT)
        said = (
            "Errors encountered validating Jenkinsfile:\n"
            'WorkflowScript: 1: Missing required section "stages" @ line 1, column 1.\n'
            f"   {text}\n   ^\n\n"
        )
        return Reply(200, said.encode(), _TEXT)

    def _who(self) -> dict[str, Any]:
        return {
            "_class": "hudson.security.WhoAmI",
            "anonymous": False,
            "authenticated": True,
            "authorities": ["authenticated"],
            "name": USER,
        }

    def _plugin_list(self) -> dict[str, Any]:
        found = [
            {"active": True, "enabled": True, "shortName": name, "version": version}
            for name, version in self.plugins.items()
        ]
        return {"_class": "hudson.LocalPluginManager", "plugins": found}

    def _crumb(self, request: Request) -> Reply:
        session = _cookie(request) or secrets.token_hex(8)
        crumb = self._crumbs.setdefault(session, secrets.token_hex(32))
        found = {
            "_class": "hudson.security.csrf.DefaultCrumbIssuer",
            "crumb": crumb,
            "crumbRequestField": "Jenkins-Crumb",
        }
        reply = self._json(request, found)
        reply.headers["Set-Cookie"] = f"JSESSIONID={session}; Path=/; HttpOnly"
        return reply

    def _json(self, request: Request, value: dict[str, Any]) -> Reply:
        selected = tree.select(value, tree.parse(request.query["tree"])) if "tree" in request.query else value
        body = json.dumps(selected, default=lambda one: one() if callable(one) else str(one))
        return Reply(200, body.encode(), _JSON, jenkins=True)

    def _address(self, path: str) -> str:
        return f"{self.url}/" + "".join(f"job/{quote(part, safe=_UNESCAPED)}/" for part in path.split("/") if part)


_COMPUTERS = {
    "_class": "hudson.model.ComputerSet",
    "totalExecutors": 2,
    "busyExecutors": 0,
    "computer": [
        {
            "_class": "hudson.model.Hudson$MasterComputer",
            "displayName": "Built-In Node",
            "offline": False,
            "numExecutors": 2,
            "assignedLabels": [{"name": "built-in"}, {"name": "python"}],
        }
    ],
}


def _pending(asked: dict[str, Any], where: str) -> dict[str, Any]:
    return {
        "id": asked["id"],
        "proceedText": asked.get("ok", "Proceed"),
        "message": asked.get("message", ""),
        "inputs": asked.get("inputs", []),
        "proceedUrl": f"{where}/wfapi/inputSubmit?inputId={asked['id']}",
        "abortUrl": f"{where}/input/{asked['id']}/abort",
        "redirectApprovalUrl": f"{where}/input/",
    }


def _cookie(request: Request) -> str:
    match = re.search(r"JSESSIONID=([0-9a-f]+)", request.headers.get("Cookie", ""))
    return match.group(1) if match else ""


def _md5(content: bytes) -> str:
    import hashlib

    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _rejection(error: Rejected, path: str) -> Reply:
    if error.message and error.status in (400, 409):
        return Reply(error.status, _error_page(error.status, error.message, path), _JETTY)
    title = "Not Found" if error.status == 404 else "Jenkins"
    # Jenkins sends 72 kB around one sentence.
    said = f"<h1>Error</h1><p>{html.escape(error.x_error or error.message)}</p>"
    filling = "<!-- page -->" * 5500
    page = f"<!DOCTYPE html><html><head><title>{title} [Jenkins]</title></head><body>{filling}{said}</body></html>"
    headers = {"X-Error": error.x_error} if error.x_error else {}
    return Reply(error.status, page.encode(), _HTML, headers, jenkins=True)


def _error_page(status: int, message: str, path: str) -> bytes:
    return (
        '<html>\n<head>\n<meta http-equiv="Content-Type" content="text/html;charset=ISO-8859-1"/>\n'
        f"<title>Error {status} {message}</title>\n</head>\n<body><h2>HTTP ERROR {status} {message}</h2>\n<table>\n"
        f"<tr><th>URI:</th><td>{path}</td></tr>\n<tr><th>STATUS:</th><td>{status}</td></tr>\n"
        f"<tr><th>MESSAGE:</th><td>{message}</td></tr>\n<tr><th>SERVLET:</th><td>Stapler</td></tr>\n</table>\n"
        '<hr/><a href="https://eclipse.org/jetty">Powered by Jetty:// 10.0.15</a><hr/>\n\n</body>\n</html>\n'
    ).encode()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    double: Double

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that go away are what some tests are about; anything else is a fault of the double."""
        if not isinstance(sys.exc_info()[1], OSError):
            self.double.errors.append(traceback.format_exc())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    wbufsize = -1

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  its name in the standard library
        """Say nothing."""

    def _serve(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        parts = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
        request = Request(self.command, parts.path, query, self.rfile.read(length), self.headers)
        double = self.server.double
        if double.latency:
            time.sleep(double.latency)
        reply = double.handle(request)
        if reply is None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response_only(reply.status)
        if reply.jenkins:
            self.send_header("X-Jenkins", VERSION)
        if reply.content_type:
            self.send_header("Content-Type", reply.content_type)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(reply.body)))
        self.end_headers()
        self.wfile.write(reply.body)
        self.wfile.flush()

    do_GET = do_POST = do_DELETE = do_HEAD = _serve
