"""What Jenkins can be asked, one method a question, one request a method.

Built on python-jenkins: what it sends runs through `Connection`, so retries, crumbs, encodings and errors are ours.
Calls for which it needs more than one request, or puts values into addresses, are made here.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urljoin, urlsplit

import jenkins
import requests

from jenkins_admin.connection import REDIRECTS, Connection, JenkinsError

_PAGE = 500
#: Without it Jenkins lets a build wait for its quiet period, which is meant for commits that come in bursts.
_NOW = {"delay": "0sec"}
_XML = {"Content-Type": "application/xml; charset=utf-8"}


class PoliteJenkins(jenkins.Jenkins):
    """python-jenkins over a `Connection`, for whatever mlci-admin has no verb for.

    Its calls fetch no crumb beforehand, follow no redirect with the token, keep pages of HTML out of messages, and
    may be made from several threads. Errors other than "not found" are those of `Connection.request`.
    """

    def __init__(self, connection: Connection) -> None:
        super().__init__(connection.url)
        self._connection = connection

    def jenkins_request(
        self, req: requests.Request, add_crumb: bool = True, resolve_auth: bool = True, stream: bool | None = None
    ) -> requests.Response:
        del add_crumb, resolve_auth
        try:
            return self._connection.request(
                req.method,
                req.url,
                accept=range(200, 400) if req.method == "POST" else (200,),
                repeat=req.method in ("GET", "HEAD"),
                params=req.params or None,
                data=req.data.encode() if isinstance(req.data, str) else req.data or None,
                headers=req.headers,
                stream=bool(stream),
            )
        except JenkinsError as error:
            if error.status == 404:
                raise jenkins.NotFoundException(error.what) from error
            raise

    def _request(self, req: requests.Request, stream: bool | None = None) -> requests.Response:
        # What asks for the version uses this one, without a login.
        return self.jenkins_request(req, stream=stream)


@dataclass(frozen=True)
class Found:
    """An item as a listing shows it."""

    name: str
    cls: str
    description: str


def job_url(path: str) -> str:
    """`ml/flights` as `job/ml/job/flights`, every part quoted once more than the names of branch jobs already are."""
    return "/".join(f"job/{quote(part, safe='', errors='surrogateescape')}" for part in path.split("/") if part)


def _is_question(one: Any) -> bool:
    """Whether this is a question as pipeline-rest-api lists them."""
    asked = one.get("inputs") or [] if isinstance(one, dict) and one.get("id") else None
    return isinstance(asked, list) and all(_is_field(field) for field in asked)


def _is_field(one: Any) -> bool:
    """Whether this is a field of such a question."""
    definition = one.get("definition") or {} if isinstance(one, dict) and one.get("name") else None
    return isinstance(definition, dict) and isinstance(definition.get("choices") or [], list)


class Server:
    """Items, credentials, builds, queue and inputs of one Jenkins."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.jenkins = PoliteJenkins(connection)

    # ---- items ---------------------------------------------------------------------------------------------------

    def children(self, path: str) -> list[Found] | None:
        """The items of a folder ("" for the top), by pages; None where there is no such folder."""
        found: list[Found] = []
        while True:
            tree = f"jobs[name,_class,description]{{{len(found)},{len(found) + _PAGE}}}"
            answer = self.connection.json(job_url(path), tree)
            if answer is None:
                return None
            page = answer.get("jobs", [])
            found += [Found(j["name"], j.get("_class", ""), j.get("description") or "") for j in page]
            if len(page) < _PAGE:
                return found

    def check_there(self) -> None:
        """For when something is missing: is it that, or the path in the address?

        Raises:
            JenkinsError: JEN_NOT_JENKINS: whatever answers, no Jenkins begins at server.url. JEN_LOGIN: the login does
                not arrive, and a visitor may not see what is missing.
        """
        if self.connection.json("", "_class") is None:
            what = f"no Jenkins begins at {self.connection.url}"
            todo = "check the path in server.url: the addresses of Jenkins' pages begin with it"
            raise JenkinsError("JEN_NOT_JENKINS", what, todo, 404)
        if self.connection.server.user and (self.who() or {}).get("anonymous"):
            raise self.connection.stripped()

    def who(self) -> dict[str, Any] | None:
        """Whom Jenkins takes this connection for; None where it does not say."""
        return self.connection.json("whoAmI", "name,authenticated,anonymous")

    def exists(self, path: str) -> bool:
        """Whether there is an item of that path."""
        return self.connection.json(job_url(path), "name") is not None

    def config(self, path: str) -> str | None:
        """An item's config.xml, or None."""
        return self._document(f"{job_url(path)}/config.xml")

    def _document(self, where: str) -> str | None:
        response = self.connection.get(where, accept=(200, 404))
        if response.status_code == 404:
            return None
        self.connection.check_no_page(response)
        return response.text

    def create(self, path: str, xml: bytes) -> bool:
        """Make an item; False if one of that name is there already (or was made by a request whose answer was lost)."""
        folder, _, name = path.rpartition("/")
        where = f"{job_url(folder)}/createItem" if folder else "createItem"
        try:
            self._write(where, params={"name": name}, data=xml, headers=_XML)
        except JenkinsError as error:
            if error.status == 400 and "already exists" in error.what:
                return False
            raise
        return True

    def update(self, path: str, xml: bytes) -> None:
        """Replace an item's configuration."""
        self._write(f"{job_url(path)}/config.xml", data=xml, headers=_XML)

    def delete(self, path: str) -> None:
        """Delete an item; one that is gone already is as good."""
        parent = job_url(path.rpartition("/")[0])
        where = f"{job_url(path)}/doDelete"
        if parent:
            response = self._write(where, accept=(200, 404), leads_to=(parent,))
        else:
            # Jenkins leads to its first page then, as a login page in front of it may: only looking tells.
            response = self.connection.post(where, accept=(200, 404, *REDIRECTS), repeat=True)
        if (response.status_code not in REDIRECTS or not parent) and self.exists(path):
            raise self.connection.not_done(response)

    def _write(
        self,
        where: str,
        *,
        accept: Collection[int] = (200,),
        leads_to: Collection[str] = (),
        repeat: bool = True,
        method: str = "POST",
        **options: Any,
    ) -> requests.Response:
        """A write, confirmed by what Jenkins answers: an empty body, or a redirect to one of the pages `leads_to`.

        A login page, whether shown or redirected to, is no confirmation.

        Raises:
            JenkinsError: JEN_REDIRECT, JEN_NOT_JENKINS: the request did not reach Jenkins. As `Connection.request`.
        """
        redirects = REDIRECTS if leads_to else frozenset()
        response = self.connection.request(method, where, accept={*accept, *redirects}, repeat=repeat, **options)
        if response.status_code in REDIRECTS:
            target = urlsplit(urljoin(response.url, response.headers.get("Location", ""))).path.strip("/")
            # Jenkins may stand below a path, and call itself by another name than the one it is reached by. It escapes
            # less in addresses than is done here.
            if not any(f"/{unquote(target)}".endswith(f"/{unquote(page)}") for page in leads_to if page):
                raise self.connection.not_done(response)
        elif response.status_code in (200, 201, 204) and response.content.strip():
            raise self.connection.not_done(response)
        return response

    # ---- credentials ---------------------------------------------------------------------------------------------

    def credentials(self, folder: str) -> list[dict[str, str]] | None:
        """`id`, `typeName` and `description` of a folder's credentials; None where there is no such store."""
        tree = "credentials[id,typeName,description]"
        answer = self.connection.json(f"{job_url(folder)}/credentials/store/folder/domain/_", tree)
        return None if answer is None else list(answer.get("credentials", []))

    def credential(self, folder: str, id_: str) -> str | None:
        """A credential's config.xml with its secrets redacted, or None."""
        return self._document(self._credential(folder, id_) + "/config.xml")

    def create_credential(self, folder: str, xml: bytes) -> bool:
        """Store a credential; False if its id is taken."""
        where = f"{job_url(folder)}/credentials/store/folder/domain/_/createCredentials"
        return self._write(where, data=xml, headers=_XML, accept=(200, 409)).status_code == 200

    def update_credential(self, folder: str, id_: str, xml: bytes) -> None:
        """Replace a credential; its type has to stay."""
        self._write(self._credential(folder, id_) + "/config.xml", data=xml, headers=_XML)

    def delete_credential(self, folder: str, id_: str) -> None:
        """Delete a credential; one that is gone already is as good."""
        where = self._credential(folder, id_) + "/config.xml"
        response = self._write(where, accept=(200, 204, 404), method="DELETE")
        if response.status_code == 404 and self.credential(folder, id_) is not None:
            raise self.connection.not_done(response)

    def _credential(self, folder: str, id_: str) -> str:
        return f"{job_url(folder)}/credentials/store/folder/domain/_/credential/{quote(id_, safe='')}"

    # ---- builds --------------------------------------------------------------------------------------------------

    def job(self, path: str, tree: str) -> dict[str, Any] | None:
        """Fields of a job, or None."""
        return self.connection.json(job_url(path), tree)

    def start(
        self, path: str, parameters: Mapping[str, str] | None, files: Mapping[str, tuple[str, bytes]] | None = None
    ) -> int:
        """Queue a build; parameters travel in the body, `files` (name → file name and content) as an upload.

        Returns the queue item's number. Never repeated once sent.
        """
        options: dict[str, Any] = {}
        if files:
            options = {"data": dict(parameters or {}), "files": dict(files)}
        elif parameters is not None:
            form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
            options = {"data": parameters or b"", "headers": form}
        where = f"{job_url(path)}/{'buildWithParameters' if options else 'build'}"
        accept = {200, 201, *REDIRECTS}
        response = self.connection.post(where, params=_NOW, accept=accept, repeat=False, **options)
        match = re.search(r"/queue/item/([0-9]{1,18})/?$", urlsplit(response.headers.get("Location", "")).path)
        if match is not None:
            return int(match.group(1))
        if response.status_code in REDIRECTS or response.content.strip():
            raise self.connection.not_done(response)
        raise JenkinsError(
            "JEN_NOT_QUEUED",
            f"{path}: Jenkins took the request but named no queue item",
            "see the job's page: it may be disabled, or already waiting in the queue",
        )

    def scan(self, path: str) -> None:
        """Let a multibranch project look for branches."""
        page = job_url(path)
        accept = (200, 201)
        self._write(f"{page}/build", params={"delay": "0"}, accept=accept, leads_to=(page,))

    def queue_item(self, number: int) -> dict[str, Any] | None:
        """A queue item, or None when it has expired."""
        tree = "id,why,cancelled,stuck,blocked,executable[number,url],task[name,url]"
        return self.connection.json(f"queue/item/{number}", tree, patient=False)

    def build(self, path: str, number: int | str, tree: str, *, patient: bool = True) -> dict[str, Any] | None:
        """Fields of a build, by its number or a name such as `lastBuild`; None where there is none."""
        return self.connection.json(f"{job_url(path)}/{number}", tree, patient=patient)

    def log(self, path: str, number: int, start: int) -> requests.Response | None:
        """What the log has from `start` on, with the headers X-Text-Size and X-More-Data."""
        where = f"{job_url(path)}/{number}/logText/progressiveText"
        response = self.connection.get(where, params={"start": str(start)}, accept=(200, 404), patient=False)
        if response.status_code == 404:
            return None
        if "X-Text-Size" not in response.headers:
            self.connection.check_no_page(response)
        return response

    def stop(self, path: str, number: int) -> None:
        """Abort a build."""
        page = f"{job_url(path)}/{number}"
        self._write(f"{page}/stop", leads_to=(page, job_url(path)))

    def cancel(self, queue_item: int) -> None:
        """Take an item out of the queue. Raises: JenkinsError: JEN_NOT_FOUND: it has left the queue before."""
        params = {"id": str(queue_item)}
        response = self._write("queue/cancelItem", params=params, accept=(200, 204, 404), leads_to=("queue",))
        if response.status_code == 404:
            what = f"queue item {queue_item} has left the queue: its build may have begun"
            raise JenkinsError("JEN_NOT_FOUND", what, "mlci-admin status shows the last build", 404)

    def artifact(self, path: str, number: int, relative: str) -> requests.Response:
        """An artifact, as a stream. Artifact managers may redirect to another host, which gets no credentials."""
        quoted = "/".join(quote(part, safe="") for part in relative.split("/"))
        return self.connection.get(f"{job_url(path)}/{number}/artifact/{quoted}", stream=True)

    def describe(self, path: str, number: int, text: str) -> None:
        """Set a build's description."""
        page = f"{job_url(path)}/{number}"
        self._write(f"{page}/submitDescription", data={"description": text}, leads_to=(page,))

    # ---- inputs --------------------------------------------------------------------------------------------------

    def pending_inputs(self, path: str, number: int) -> list[dict[str, Any]] | None:
        """The questions a build waits with; None if Jenkins lacks the plugin that lists them (pipeline-rest-api)."""
        response = self.connection.get(
            f"{job_url(path)}/{number}/wfapi/pendingInputActions", accept=(200, 404), patient=False
        )
        if response.status_code == 404:
            return None
        found = self.connection.parsed(response)
        if not isinstance(found, list) or not all(_is_question(one) for one in found):
            raise self.connection.not_jenkins(response)
        return found

    def input_page(self, path: str, number: int) -> str | None:
        """The page with a build's questions, for controllers without pipeline-rest-api."""
        response = self.connection.get(f"{job_url(path)}/{number}/input/", accept=(200, 404))
        return response.text if response.status_code == 200 else None

    def answer(self, path: str, number: int, input_id: str, verb: str, form: Mapping[str, str] | None = None) -> None:
        """Answer a question: `verb` is `proceedEmpty`, `abort` or `submit`. Never repeated once sent."""
        page = f"{job_url(path)}/{number}"
        where = f"{page}/input/{quote(input_id, safe='')}/{verb}"
        self._write(where, data=form or b"", leads_to=(page, f"{page}/console", f"{page}/input"), repeat=False)

    # ---- the controller ------------------------------------------------------------------------------------------

    def plugins(self) -> dict[str, str] | None:
        """Active plugins and their versions; None where the user may not see them."""
        tree = "plugins[shortName,version,active]"
        try:
            answer = self.connection.json("pluginManager", tree)
        except JenkinsError as error:
            if error.status == 403:
                return None
            raise
        found = (answer or {}).get("plugins", [])
        return {plugin["shortName"]: plugin["version"] for plugin in found if plugin.get("active")}

    def lint(self, jenkinsfile: str) -> list[str]:
        """What the declarative linter says about a Jenkinsfile; empty when it is fine."""
        response = self.connection.post(
            "pipeline-model-converter/validate", data={"jenkinsfile": jenkinsfile}, repeat=True
        )
        text = response.text.strip()
        return [] if text.startswith("Jenkinsfile successfully validated") else text.splitlines()
