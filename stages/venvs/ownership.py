"""Whether another user of this machine can change a folder: owners and modes of everything on the way to it.

A folder is private when this user or root owns every folder from `/` down to it, and nobody else can write to any of
them. Folders on the way may be writable when they are sticky, as `/tmp` is: then only owners rename and remove.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

#: Symbolic links that are followed on one path, as many as Linux follows.
_MOST_LINKS = 40


def problem(folder: Path) -> str | None:
    """Why other users could change what is in `folder`; None when they cannot.

    What does not exist yet is no problem: whoever creates it owns it.

    Raises:
        OSError: a folder on the way cannot be looked at.
    """
    here, links = Path("/"), 0
    pending = list(reversed(folder.absolute().parts[1:]))
    why = _of_folder(here, os.lstat(here), last=not pending)
    while pending and why is None:
        part = pending.pop()
        if part == "..":
            here = here.parent
            continue
        path = here / part
        try:
            status = os.lstat(path)
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            links += 1
            if status.st_uid not in (0, os.geteuid()):
                return f"{path} belongs to {user(status.st_uid)}"
            if links > _MOST_LINKS:
                return f"{path}: too many symbolic links"
            target = path.readlink()
            here = Path("/") if target.is_absolute() else here
            pending += reversed(target.parts[1:] if target.is_absolute() else target.parts)
            continue
        here = path
        why = _of_folder(here, status, last=not pending)
    return why


def of_file(path: Path, status: os.stat_result) -> str | None:
    """Why other users could have written this file or folder, whatever the folders above it say."""
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to {user(status.st_uid)}"
    if stat.S_ISLNK(status.st_mode):
        return None
    return _writable(path, status)


def make(folder: Path) -> None:
    """Create a folder and those above it, for this user alone. Raises: OSError."""
    missing = []
    while not folder.exists():
        missing.append(folder)
        folder = folder.parent
    for path in reversed(missing):
        path.mkdir(mode=0o700, exist_ok=True)


def user(uid: int) -> str:
    """A user's name and number, for a message."""
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name} ({uid})"
    except KeyError:
        return f"user {uid}"


def _of_folder(path: Path, status: os.stat_result, *, last: bool) -> str | None:
    if not stat.S_ISDIR(status.st_mode):
        return f"{path} is not a folder"
    if status.st_uid not in (0, os.geteuid()):
        return f"{path} belongs to {user(status.st_uid)}"
    if status.st_mode & stat.S_ISVTX and not last:
        return None
    return _writable(path, status)


def _writable(path: Path, status: os.stat_result) -> str | None:
    if status.st_mode & stat.S_IWOTH:
        return f"every user can write to {path}"
    if status.st_mode & stat.S_IWGRP and not _only_mine(path, status.st_gid):
        return f"group {status.st_gid} can write to {path}"
    return None


def _only_mine(path: Path, gid: int) -> bool:
    """Whether a group is root's, or this user's own as most distributions make one for each user, and no access list
    adds anybody to it."""
    import grp
    import pwd

    if _access_list(path):
        return False
    if gid == 0:
        return True
    name, primary, group, members = None, os.getegid(), None, set[str]()
    with contextlib.suppress(KeyError):  # in a container, users and groups often have no entry
        name, primary = pwd.getpwuid(os.geteuid()).pw_name, pwd.getpwuid(os.geteuid()).pw_gid
    with contextlib.suppress(KeyError):
        group, members = grp.getgrgid(gid).gr_name, set(grp.getgrgid(gid).gr_mem)
    same = name == group if name and group else gid == os.geteuid()
    return primary == gid and same and members <= {name}


def _access_list(path: Path) -> bool:
    if not hasattr(os, "listxattr"):  # macOS
        return False
    try:
        return "system.posix_acl_access" in os.listxattr(path)
    except OSError:
        return False
