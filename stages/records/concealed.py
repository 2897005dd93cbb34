"""Digests of values that may be secrets: salted and slow, so that a record which travels gives nothing away quickly."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Any

_NAME = "scrypt"
#: About 50 ms and 16 MiB for each guess.
_COST = {"n": 2**14, "r": 8, "p": 1}


def digest_of(value: str | None) -> str | None:
    """`scrypt:SALT:DIGEST` of a value, with a salt of its own; None for None."""
    if value is None:
        return None
    salt = secrets.token_bytes(16)
    return f"{_NAME}:{salt.hex()}:{_scrypt(value, salt).hex()}"


def is_digest_of(value: str, digest: Any) -> bool:
    """Whether `digest`, as a record has it, is one of `value`."""
    parts = digest.split(":") if isinstance(digest, str) else []
    try:
        return (
            len(parts) == 3
            and parts[0] == _NAME
            and hmac.compare_digest(_scrypt(value, bytes.fromhex(parts[1])), bytes.fromhex(parts[2]))
        )
    except ValueError:
        return False


def _scrypt(value: str, salt: bytes) -> bytes:
    return hashlib.scrypt(value.encode("utf-8", "surrogateescape"), salt=salt, dklen=32, **_COST)
