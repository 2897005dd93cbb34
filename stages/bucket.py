"""Objects of an S3 bucket over HTTP: the only module that knows boto3.

Endpoint, region, proxy and credentials are found as boto3 finds them (AWS_ENDPOINT_URL_S3, AWS_PROFILE, roles …); no
secret appears in what is said here.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from stages import __version__

#: Seconds until a connection stands, and between two pieces of an answer.
_CONNECT, _READ = 10, 60
#: How often one request is sent at most; boto3 waits longer before each.
_ATTEMPTS = 4
#: Seconds before a conditional write is sent again that met another one half-way (409).
_PAUSES = (0.1, 0.4, 1.6)
_PIECE = 1 << 20

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_PREFIX = re.compile(r"[A-Za-z0-9!_.*'()-]+(/[A-Za-z0-9!_.*'()-]+)*")

#: `missing`: no such object. `condition`: the object is not, or no longer, what the write asked for. `unsupported`: the
#: server does not know such writes. `client`: boto3 is missing.
Kind = Literal[
    "missing", "condition", "unsupported", "client", "bucket", "access", "credentials", "clock", "network", "other"
]

_CREDENTIALS = {
    *("InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "ExpiredTokenException", "InvalidToken"),
    *("TokenRefreshRequired", "InvalidClientTokenId", "UnrecognizedClientException", "InvalidSecurity", "NotSignedUp"),
}
_REGION = {"PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed", "301", "307"}


class Failure(Exception):
    """A request that did not do what was asked. `what` and `todo`: one line each, without secrets."""

    def __init__(self, kind: Kind, what: str, todo: str) -> None:
        super().__init__(what)
        self.kind = kind
        self.what = what
        self.todo = todo


@dataclass(frozen=True)
class Address:
    """`s3://bucket/prefix`. `prefix`: empty, or ends with a slash."""

    bucket: str
    prefix: str

    @classmethod
    def of(cls, text: str) -> Address:
        """Raises: ValueError: the text is none; says why."""
        bucket, _, prefix = text.removeprefix("s3://").partition("/")
        prefix = prefix.rstrip("/")
        if not text.startswith("s3://") or not _BUCKET.fullmatch(bucket):
            raise ValueError("a bucket's name has 3 to 63 of a-z, 0-9, . and -")
        if prefix and (not _PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
            raise ValueError("a prefix has letters, digits and any of !_.*'()- between single slashes")
        return cls(bucket, f"{prefix}/" if prefix else "")

    def __str__(self) -> str:
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


@dataclass(frozen=True)
class Object:
    """An object as it was read. `modified` and `now`: both by the server's clock."""

    content: bytes
    etag: str
    modified: datetime
    now: datetime


@dataclass(frozen=True)
class Listed:
    """A line of a listing. `size`: bytes."""

    key: str
    size: int
    etag: str
    modified: datetime


class Bucket:
    """The objects of one bucket. Every method raises Failure."""

    def __init__(self, name: str) -> None:
        self.name = name

    @property
    def endpoint(self) -> str:
        """Host and port of the server."""
        parts = urlsplit(self._client.meta.endpoint_url)
        return str(parts.netloc.rpartition("@")[2])

    def get(self, key: str) -> Object:
        """A small object."""
        with self._failures(key):
            answer = self._client.get_object(Bucket=self.name, Key=key)
            with closing(answer["Body"]) as body:
                content = body.read()
            return Object(content, str(answer["ETag"]), answer["LastModified"], _now(answer))

    def pieces(self, key: str) -> Iterator[bytes]:
        """An object of any size, a piece at a time; ends only when it was whole."""
        with self._failures(key):
            body = self._client.get_object(Bucket=self.name, Key=key)["Body"]
        with closing(body):
            while True:
                with self._failures(key):
                    piece = body.read(_PIECE)
                if not piece:
                    return
                yield piece

    def put(self, key: str, content: bytes | Path, *, absent: bool = False, etag: str | None = None) -> str:
        """Write an object and give its ETag. The server compares what arrives with its signed SHA-256.

        `absent`: only if there is none; `etag`: only over the one that has it; else Failure `condition`.
        """
        condition = {"IfNoneMatch": "*"} if absent else {"IfMatch": etag} if etag is not None else {}
        for pause in (*_PAUSES, None):
            try:
                return self._put(key, content, condition)
            except _Overtaken as overtaken:
                if pause is None:
                    raise Failure("condition", overtaken.what, overtaken.todo) from overtaken
                time.sleep(pause)
            except Failure as failure:
                if condition and failure.kind == "missing":  # what If-Match asked for is gone
                    raise Failure("condition", failure.what, failure.todo) from failure
                raise
        raise AssertionError("the last pause is None")

    def _put(self, key: str, content: bytes | Path, condition: dict[str, str]) -> str:
        request = {"Bucket": self.name, "Key": key, **condition}
        if isinstance(content, bytes):
            with self._failures(key):
                return str(self._client.put_object(Body=content, **request)["ETag"])
        with content.open("rb") as stream, self._failures(key):
            return str(self._client.put_object(Body=stream, **request)["ETag"])

    def listed(self, prefix: str) -> Iterator[Listed]:
        """The objects whose key begins so, by key."""
        token: dict[str, str] = {}
        while True:
            with self._failures(prefix):
                page = self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, **token)
            for found in page.get("Contents", ()):
                yield Listed(found["Key"], found["Size"], found["ETag"], found["LastModified"])
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def reached(self, prefix: str) -> None:
        """Ask for one line of a listing: network, credentials, bucket and the right to list, in one request."""
        with self._failures(prefix):
            self._client.list_objects_v2(Bucket=self.name, Prefix=prefix, MaxKeys=1)

    @cached_property
    def _client(self) -> Any:
        require_client()
        import boto3
        from botocore.config import Config

        config = Config(
            user_agent_extra=f"mlci/{__version__}",
            connect_timeout=_CONNECT,
            read_timeout=_READ,
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            # Other checksums than the signed one are not known to every server.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"payload_signing_enabled": True},
        )
        with self._failures(""):
            return boto3.session.Session().client("s3", config=config)

    @contextmanager
    def _failures(self, key: str) -> Iterator[None]:
        """Every exception of boto3 as a Failure."""
        require_client()
        from botocore.exceptions import BotoCoreError, ClientError
        from urllib3.exceptions import HTTPError

        place = f"s3://{self.name}/{key}"
        try:
            yield
        except ClientError as error:
            raise _answered(place, error, self.endpoint) from error
        except BotoCoreError as error:
            raise _unanswered(place, error, self.endpoint if "_client" in vars(self) else "the server") from error
        except (OSError, HTTPError) as error:  # in the middle of an answer
            raise _network(place, f"the connection to {self.endpoint} ended ({type(error).__name__})") from error
        except ValueError as error:
            what = f"{place}: the endpoint is no valid address"
            raise Failure("other", what, "correct AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL") from error


class _Overtaken(Failure):
    """409: another write of the same object was under way; the server asks to try again."""


def require_client() -> None:
    """Raises: Failure `client`: boto3 is missing, or too old for conditional writes."""
    todo = "add boto3 to the repository's requirements.txt, or install it where mlci is installed"
    try:
        import boto3
        import botocore
    except ImportError:
        raise Failure("client", "s3:// needs the package boto3, which is not installed", todo) from None
    version = tuple(int(part) for part in re.findall(r"\d+", botocore.__version__)[:2])
    if version < (1, 36):
        what = f"s3:// needs boto3 1.36 or newer, here is {boto3.__version__}"
        raise Failure("client", what, "raise its version in the repository's requirements.txt")


def _now(answer: Any) -> datetime:
    said = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
    return parsedate_to_datetime(said) if said else datetime.now(UTC)


def _answered(place: str, error: Any, server: str) -> Failure:
    """What the server said no to."""
    said = error.response.get("Error", {})
    code = str(said.get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if status == 412 or code == "PreconditionFailed":
        return Failure("condition", f"{place}: was changed meanwhile", "run the command again")
    if code == "ConditionalRequestConflict":
        return _Overtaken("condition", f"{place}: is being changed by somebody else", "run the command again")
    if code in ("NoSuchBucket", "InvalidBucketName"):
        bucket = place.split("/")[2]
        return Failure("bucket", f"{server} has no bucket {bucket}", "make it, or correct its name or the endpoint")
    if code in _REGION:
        return Failure("bucket", f"{place}: the bucket is in another region", "set AWS_REGION to the bucket's region")
    if code in ("RequestTimeTooSkewed", "RequestExpired"):
        return Failure("clock", f"{place}: the clock of {server} and this machine's differ", "set this machine's clock")
    if code in _CREDENTIALS:
        todo = "check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN, or the profile or role"
        return Failure("credentials", f"{place}: {server} refused the credentials ({code})", todo)
    if code in ("NoSuchKey", "404", "NoSuchVersion"):
        return Failure("missing", f"{place}: there is no such object", "correct the address")
    if status == 501 or code == "NotImplemented":
        return Failure("unsupported", f"{place}: the server does not know such a request ({code})", "use another one")
    if status in (401, 403):
        todo = "allow s3:ListBucket on the bucket, s3:GetObject and, to deploy, s3:PutObject on its objects"
        return Failure("access", f"{place}: access was refused ({code})", todo)
    if status >= 500 or status == 429 or code in ("SlowDown", "RequestTimeout", "InternalError"):
        return _network(place, f"{server} answered {status} {code}".rstrip())
    message = " ".join(str(said.get("Message", "")).split())[:200]
    return Failure("other", f"{place}: {server} answered {status} {code}: {message}", "see the server's documentation")


def _unanswered(place: str, error: Any, server: str) -> Failure:
    """What came to no answer."""
    from botocore import exceptions as known

    name = type(error).__name__
    without = (
        *(known.NoCredentialsError, known.PartialCredentialsError, known.CredentialRetrievalError),
        *(known.ProfileNotFound, known.SSOError, known.TokenRetrievalError, known.NoAuthTokenError),
    )
    if isinstance(error, without):
        found = {"NoCredentialsError": "no credentials were found"}.get(name, f"no credentials could be had ({name})")
        return Failure("credentials", f"{place}: {found}", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or a role")
    if isinstance(error, known.ParamValidationError):
        return Failure("bucket", f"{place}: is no address of an object", "correct it: s3://bucket/key")
    if isinstance(error, known.SSLError):
        todo = "check the endpoint, and AWS_CA_BUNDLE where a certificate of one's own signs"
        return Failure("network", f"{place}: no trusted connection to {server}", todo)
    if isinstance(error, (known.HTTPClientError, known.ConnectionError, known.IncompleteReadError)):
        return _network(place, f"{server} gave no answer ({name})")
    return Failure("other", f"{place}: {name}", "check the AWS_* variables and ~/.aws/config")


def _network(place: str, why: str) -> Failure:
    todo = "check the network, AWS_ENDPOINT_URL_S3, proxy settings and the server, then run the command again"
    return Failure("network", f"{place}: {why}", todo)
