"""Credentials as Jenkins stores them, and how a changed secret is noticed.

Jenkins gives no secret back. What can be compared are the public fields and a fingerprint in the description: scrypt
over the secret with a random salt, which says whether a secret is the same. It is slow to compute, which protects
random tokens; a password that a person chose can be guessed through it, unless a key goes into it.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import xml.etree.ElementTree as ET

from jenkins_admin import marker
from jenkins_admin.canonical import Node, canonical
from jenkins_admin.diff import Change, differences, short
from jenkins_admin.masking import Mask
from jenkins_admin.schema import SecretFile, SecretText, SshKey, UsernamePassword
from jenkins_admin.xmltree import decoded, element, parse

Credential = UsernamePassword | SecretText | SecretFile | SshKey

USERNAME_PASSWORD = "com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl"  # noqa: S105  a class
SECRET_TEXT = "org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl"  # noqa: S105  a class
SECRET_FILE = "org.jenkinsci.plugins.plaincredentials.impl.FileCredentialsImpl"  # noqa: S105  a class
SSH_KEY = "com.cloudbees.jenkins.plugins.sshcredentials.impl.BasicSSHUserPrivateKey"

_PLAIN, _KEYED = "scrypt", "hmac-scrypt"
_COST = 15  # scrypt's N as a power of two: about 80 ms and 32 MiB a guess
_SECRET_TAGS = frozenset({"password", "secret", "passphrase", "secretBytes", "privateKeySource", "description"})


def values(credential: Credential) -> list[str]:
    """The secret texts of a credential."""
    if isinstance(credential, UsernamePassword):
        return [credential.password]
    if isinstance(credential, SecretText):
        return [credential.secret]
    if isinstance(credential, SecretFile):
        return [base64.b64encode(credential.content).decode()]
    return [credential.private_key, credential.passphrase or ""]


def fingerprint(credential: Credential, salt: bytes | None = None, key: str = "") -> str:
    """`scrypt:cost:salt:hash` of the secret; with a fresh salt unless one is given.

    With a `key`, `hmac-scrypt:…`: nobody who lacks the key can try guesses on it.
    """
    salt = os.urandom(12) if salt is None else salt
    text = "\0".join(values(credential)).encode("utf-8", errors="surrogatepass")
    if key:
        text = hmac.digest(key.encode(errors="surrogateescape"), text, "sha256")
    digest = hashlib.scrypt(text, salt=salt, n=2**_COST, r=8, p=1, dklen=18, maxmem=64 * 2**20)
    return f"{_KEYED if key else _PLAIN}:{_COST}:{_base64(salt)}:{_base64(digest)}"


def matches(credential: Credential, known: str, key: str = "") -> bool:
    """Whether a fingerprint is that of the credential's secret; False as well for one that cannot be read."""
    parts = known.split(":")
    if len(parts) != 4 or parts[:2] != [_KEYED if key else _PLAIN, str(_COST)]:
        return False
    try:
        salt = base64.urlsafe_b64decode(parts[2])
    except ValueError:
        return False
    return hmac.compare_digest(fingerprint(credential, salt, key), known)


def render(credential: Credential, owner: str, key: str = "") -> ET.Element:
    """The document that stores a credential, its secret included and its description signed."""
    sign = marker.Marker(owner, extra={"secret": fingerprint(credential, key=key)})
    head = [
        element("scope", "GLOBAL"),
        element("id", credential.id),
        element("description", marker.signed(credential.description, sign, separator=" ")),
    ]
    if isinstance(credential, SecretText):
        return element(SECRET_TEXT, *head, element("secret", credential.secret))
    if isinstance(credential, SecretFile):
        name = element("fileName", credential.file_name)
        return element(SECRET_FILE, *head, name, element("secretBytes", *values(credential)))
    # Left out, an SSH key's user name would be taken for a secret and masked in every log.
    user = [element("username", credential.username), element("usernameSecret", "false")]
    if isinstance(credential, UsernamePassword):
        return element(USERNAME_PASSWORD, *head, *user, element("password", credential.password))
    private = element("privateKey", _with_line_end(credential.private_key))
    source = element("privateKeySource", private, class_=f"{SSH_KEY}$DirectEntryPrivateKeySource")
    return element(SSH_KEY, *head, *user, element("passphrase", credential.passphrase or ""), source)


def tag(credential: Credential) -> str:
    """The root element of a credential's kind."""
    if isinstance(credential, UsernamePassword):
        return USERNAME_PASSWORD
    if isinstance(credential, SshKey):
        return SSH_KEY
    return SECRET_TEXT if isinstance(credential, SecretText) else SECRET_FILE


def changes(credential: Credential, live_xml: str, owner: str, key: str = "", mask: Mask | None = None) -> list[Change]:
    """What differs between a credential and what Jenkins shows of it.

    Raises:
        xmltree.XmlError: `live_xml` is not XML.
    """
    live = parse(live_xml)
    if live.tag != tag(credential):
        return [Change("kind", "change", short(live.tag), short(tag(credential)))]
    wanted = element(live.tag, element("scope", "GLOBAL"), element("id", credential.id))
    if isinstance(credential, SecretFile):
        wanted.append(element("fileName", credential.file_name))
    elif not isinstance(credential, SecretText):
        wanted.append(element("username", credential.username))
    mask = mask or Mask()
    found = differences(_public(live), _public(wanted), mask)
    description = decoded(live.findtext("description"))
    text = marker.text_of(description)
    if text != credential.description.strip():
        shown = mask.text(text), mask.text(credential.description.strip())
        found.append(Change("description", "change", *shown))
    sign = marker.of_owner(description, owner)
    if sign is None:
        found.append(Change("secret", "change", "(made elsewhere)", "(from the file)"))
    else:
        found += _secret_changes(credential, sign.extra.get("secret", ""), key)
    return found


def _secret_changes(credential: Credential, known: str, key: str) -> list[Change]:
    if matches(credential, known, key):
        return []
    if key and matches(credential, known):
        return [Change("fingerprint", "change", "(without a key)", "(with the key)")]
    if not key and known.startswith(_KEYED):
        # Only who has the key can tell whether it is the same secret.
        return [Change("fingerprint", "change", "(with a key)", "(without a key)")]
    return [Change("secret", "change", "(another)", "(from the file)")]


def _public(root: ET.Element) -> Node:
    kept = ET.Element(root.tag)
    kept.extend(child for child in root if child.tag not in _SECRET_TAGS)
    return canonical(kept)


def _with_line_end(key: str) -> str:
    # OpenSSH refuses a key whose last line is not ended, and ${VAR} values usually have lost theirs.
    return key if key.endswith("\n") else key + "\n"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode()
