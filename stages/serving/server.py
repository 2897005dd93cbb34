"""The process around the application: listening, handing over, ending.

A service that replaces another one starts on a private port and proves itself there. SIGUSR1 makes it listen on the
public port too, SIGUSR2 takes it off that port again, SIGTERM ends it: unready at once, connections still taken for a
moment, requests finished, exit 0. What it does stands in its state file, which is how the deploying process follows
it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import resource
import signal
import socket
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import uvicorn

from stages.errors import InfraError
from stages.records import jsonfile
from stages.records.atomic import write_json
from stages.serving import sockets
from stages.serving.app import Service
from stages.serving.connection import Connection
from stages.serving.patience import Patience

log = logging.getLogger("mlci")

#: Longer than the minute that proxies commonly keep a connection, so that they close it first.
KEEP_ALIVE_SECONDS = 65
_ACCEPTED_AT_ONCE = 64
#: Descriptors that are kept for other things than connections.
_OTHER_DESCRIPTORS = 64


@dataclass
class Listening:
    """Where and how a service listens.

    `private`: start on a private port, listen on `host`:`port` when told to. `join`: an older process of this service
    listens there. `state`: file that says what the service does. `lifeline`: descriptor of a pipe; its end without a
    byte means that the deploying process died before it was done, and the service ends, unless the alias file `alias`
    names `version` by then.
    """

    host: str
    port: int
    version: str
    private: bool = False
    join: bool = False
    state: Path | None = None
    lifeline: int | None = None
    alias: Path | None = None
    extra: dict[str, Any] = field(default_factory=dict)


class Server(uvicorn.Server):
    """uvicorn with a second listener and an end that loses no request."""

    def __init__(self, service: Service, listening: Listening) -> None:
        super().__init__(
            uvicorn.Config(
                service,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(service.limits.grace_seconds)),
            )
        )
        # What a caller does wrong is told to the caller; a line for each would let anybody fill the log.
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self.service = service
        self.listening = listening
        self._public: asyncio.Server | None = None
        self._public_address: tuple[str, int] | None = None
        self._public_socket: socket.socket | None = None
        self._published = 0
        self._private_port: int | None = None
        self._refused: dict[str, str] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._withdrawing: asyncio.Task[None] | None = None
        self._publishing: asyncio.Task[None] | None = None
        self._patience = Patience(service.limits.deadline_seconds, _connections(service.limits.max_connections))

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Signals are handled in `startup`, by this class."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self.servers = []
        await self.lifespan.startup()
        loop = asyncio.get_running_loop()
        for number, action in (
            (signal.SIGTERM, self.end),
            (signal.SIGINT, self.end),
            (signal.SIGUSR1, self.publish),
            (signal.SIGUSR2, self.withdraw),
        ):
            loop.add_signal_handler(number, action)
        self._patience.look()
        if self.listening.lifeline is not None:
            loop.add_reader(self.listening.lifeline, self._lifeline)
        if self.listening.private:
            own = _private()
            self._private_port = own.getsockname()[1]
            await self._listen(own)
        else:
            await self._publish()
            if self._refused is not None:
                raise InfraError(self._refused["code"], self._refused["what"], self._refused["todo"])
        self.started = True
        self._write_state()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._patience.end()
        await super().shutdown(sockets)
        if self.listening.state is not None:
            self.listening.state.unlink(missing_ok=True)

    # ---- commands --------------------------------------------------------------------------------------------------

    def publish(self) -> None:
        """Listen on the public port as well; if it does so already, again, ahead of others. The state file says
        whether that worked."""
        self._withdrawing = None
        self._publishing = asyncio.ensure_future(self._publish_and_say())

    def withdraw(self) -> None:
        """Stop listening on the public port, keep running."""
        self._withdrawing = asyncio.ensure_future(self._withdraw())

    def end(self) -> None:
        """Unready at once; take connections a moment longer, then finish and exit. A second time: without the
        moment."""
        if self._ending is not None:
            self.should_exit = True
            return
        log.info("ending: no new requests wanted, those under way are finished")
        self.service.set_ready(False)
        self.service.last_answers = True
        self._ending = asyncio.ensure_future(self._end())
        self._write_state()

    # ---- how -----------------------------------------------------------------------------------------------

    async def _listen(self, own: socket.socket) -> asyncio.Server:
        def protocol() -> asyncio.Protocol:
            return Connection(self.config, self.server_state, self._patience)

        # asyncio accepts as many connections at once as may wait: not so many that requests have to wait for them.
        server = await asyncio.get_running_loop().create_server(protocol, sock=own, backlog=_ACCEPTED_AT_ONCE)
        own.listen(self.config.backlog)
        self.servers.append(server)
        return server

    async def _publish_and_say(self) -> None:
        older = self._public
        await self._publish()
        self._write_state()
        if older is not None and older is not self._public:
            await asyncio.sleep(self.service.limits.drain_seconds)
            self._close(older)

    async def _publish(self) -> None:
        join = self.listening.join or self._public is not None
        try:
            own = sockets.public(self.listening.host, self.listening.port, join)
        except InfraError as error:
            self._refused = {"code": error.code, "what": error.what, "todo": error.todo}
            return
        self._refused = None
        self._public_socket, self._public_address = own, own.getsockname()[:2]
        self._public = await self._listen(own)
        self._published += 1
        self.service.last_answers = False
        log.info("serving %s on http://%s:%d", self.listening.version[:12], *self._public_address)

    def _close(self, server: asyncio.Server) -> None:
        server.close()
        self.servers = [s for s in self.servers if s is not server]

    async def _withdraw(self) -> None:
        # Each caller goes over to the new process with its next connection.
        self.service.last_answers = True
        await asyncio.sleep(self.service.limits.drain_seconds)
        if self._withdrawing is None:
            return  # published again meanwhile
        server, self._public, self._public_address = self._public, None, None
        if server is not None:
            self._close(server)
        self.listening.join = True  # whoever comes back does so beside the one that took over
        self._write_state()

    async def _end(self) -> None:
        if self._public is not None:
            await asyncio.sleep(self.service.limits.drain_seconds)
        self.should_exit = True

    def _lifeline(self) -> None:
        lifeline = self.listening.lifeline
        if lifeline is None:
            return
        kept = os.read(lifeline, 1)
        asyncio.get_running_loop().remove_reader(lifeline)
        os.close(lifeline)
        self.listening.lifeline = None
        if not kept and not self._is_promoted():
            log.warning("the deployment was given up before it was done: ending")
            if self._public is not None and self._public_socket is not None and self.listening.join:
                sockets.steer_back(self._public_socket)
            self.end()

    def _is_promoted(self) -> bool:
        if self.listening.alias is None:
            return False
        try:
            return bool(jsonfile.parse(jsonfile.content(self.listening.alias))["digest"] == self.listening.version)
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _write_state(self) -> None:
        if self.listening.state is None:
            return
        state = "ending" if self._ending else "public" if self._public else "private"
        public = (
            None if self._public_address is None else {"host": self._public_address[0], "port": self._public_address[1]}
        )
        content = {
            **self.listening.extra,
            "pid": os.getpid(),
            "version": self.listening.version,
            "state": state,
            "private_port": self._private_port,
            "public": public,
            "published": self._published,
            "refused": self._refused,
        }
        try:
            write_json(self.listening.state, content)
        except InfraError as error:
            log.warning("%s", error.what)


def _connections(most: int) -> int:
    """`most`, or as many as this process may open."""
    return max(1, min(most, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - _OTHER_DESCRIPTORS))


def _private() -> socket.socket:
    return sockets.private()


def serve(service: Service, listening: Listening) -> int:
    """Serve until told to end. Returns the exit code, 0.

    Raises:
        InfraError: DEP_PORT_IN_USE, DEP_PORT.
    """
    server = Server(service, listening)
    with contextlib.suppress(KeyboardInterrupt):
        server.run()
    sys.stdout.flush()
    sys.stderr.flush()
    return 0
