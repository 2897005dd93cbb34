"""`__main__.py` of an application: sees that this Python can run it, unpacks what cannot be imported from a zip, and
goes on in there.

Standard library alone, and nothing that Python 3.6 could not read: it has to say that it is too old.
"""

import contextlib
import json
import os
import platform
import shutil
import stat
import sys
import sysconfig
import tempfile
import zipfile


def main() -> int:
    """Returns the exit code."""
    here = os.path.abspath(sys.path[0] if zipfile.is_zipfile(sys.path[0]) else sys.argv[0])
    with zipfile.ZipFile(here) as archive:
        about = json.loads(archive.read("app.json").decode())
        wrong = _mismatch(about)
        if wrong:
            return _error("CFG_PYTHON", about["name"] + " " + wrong, _advice(about, here), 2)
        place, passing = _place()
        try:
            libraries = _unpacked(archive, "libraries.zip", os.path.join(place, "app-libraries-" + about["libraries"]))
            model = _unpacked(archive, "model.zip", os.path.join(place, "app-model-" + about["model"]))
        except (OSError, zipfile.BadZipFile) as error:
            if passing:
                shutil.rmtree(passing, ignore_errors=True)
            what = "unpacking into " + place + " failed: " + (getattr(error, "strerror", None) or str(error))
            return _error("DEP_DISK", what, "free space there, or name another folder with MLCI_CACHE", 5)
    own = [entry for entry in sys.path[1:] if _is_pythons(entry)]
    sys.path[:] = [model, libraries, *own]
    try:
        from stages.product.scorer import main as score

        return score(about, model)
    finally:
        if passing:
            shutil.rmtree(passing, ignore_errors=True)


def _mismatch(about: "dict[str, str]") -> "str | None":
    """What is not as it was where the application was made."""
    python = "%d.%d" % sys.version_info[:2]
    here = python, platform.python_implementation(), sysconfig.get_platform(), sysconfig.get_config_var("SOABI")
    there = about["python"], about["implementation"], about["platform"], about["soabi"]
    if here != there:
        return "needs %s %s for %s (%s), this is %s %s for %s (%s)" % (
            there[1], there[0], there[2], there[3], here[1], here[0], here[2], here[3],
        )  # fmt: skip
    libc = platform.libc_ver()
    if about.get("glibc") and libc[0] == "glibc" and _numbers(libc[1]) < _numbers(about["glibc"]):
        return "needs glibc " + about["glibc"] + " or newer, this system has " + libc[1]
    return None


def _advice(about: "dict[str, str]", here: str) -> str:
    if about["platform"] != sysconfig.get_platform():
        return "use one that was made on this platform: mlci deploy, there"
    return "run: python" + about["python"] + " " + os.path.basename(here)


def _numbers(version: str) -> "list[int]":
    return [int(part) for part in version.split(".") if part.isdigit()]


def _place() -> "tuple[str, str | None]":
    """Where to unpack: a folder that stays, or one for this run, which is named twice."""
    cache = os.environ.get("MLCI_CACHE")
    if not cache:
        base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
        cache = os.path.join(base, "mlci")
    try:
        os.umask(os.umask(0o077) | 0o022)  # nobody else may write what is unpacked
        os.makedirs(cache, mode=0o700, exist_ok=True)
        if os.access(cache, os.W_OK | os.X_OK) and _private(cache):
            return cache, None
    except OSError:
        pass
    passing = tempfile.mkdtemp(prefix="mlci-app-")
    return passing, passing


def _unpacked(archive: zipfile.ZipFile, name: str, folder: str) -> str:
    """`folder` with the content of an inner archive; one that is not whole is unpacked again."""
    with archive.open(name) as stream, zipfile.ZipFile(stream) as inner:
        if _whole(inner, folder):
            return folder
        parent = os.path.dirname(folder)
        aside = tempfile.mkdtemp(prefix=".app-", dir=parent)
        try:
            sys.stderr.write("unpacking %s into %s, once\n" % (name, folder))
            inner.extractall(aside)
            if os.path.isdir(folder):
                damaged = tempfile.mkdtemp(prefix=".app-", dir=parent)
                os.rename(folder, os.path.join(damaged, "old"))
                shutil.rmtree(damaged, ignore_errors=True)
            os.rename(aside, folder)
        except OSError:
            shutil.rmtree(aside, ignore_errors=True)
            if not _whole(inner, folder):  # another process may have been quicker
                raise
    return folder


def _whole(inner: zipfile.ZipFile, folder: str) -> bool:
    """Whether every file is there, in its size, and nobody else could have written it."""
    parents = {folder}
    try:
        for entry in inner.infolist():
            path = os.path.join(folder, entry.filename)
            status = os.lstat(path)
            if status.st_size != entry.file_size or not stat.S_ISREG(status.st_mode) or not _own(status):
                return False
            parents.add(os.path.dirname(path))
        return all(_own(os.lstat(path)) for path in parents)
    except OSError:
        return False


def _private(folder: str) -> bool:
    """Whether no other user can change what is in a folder: by it, or by one of those above it."""
    path, last = os.path.realpath(folder), True
    while True:
        status = os.lstat(path)
        sticky = status.st_mode & stat.S_ISVTX and not last and status.st_uid in (0, os.geteuid())
        if not sticky and not _own(status):
            return False
        if os.path.dirname(path) == path:
            return True
        path, last = os.path.dirname(path), False


def _own(status: os.stat_result) -> bool:
    if status.st_uid not in (0, os.geteuid()) or status.st_mode & stat.S_IWOTH:
        return False
    return not status.st_mode & stat.S_IWGRP or status.st_gid == 0 or _only_mine(status.st_gid)


def _only_mine(gid: int) -> bool:
    """Whether a group is this user's own, as most distributions make one for each user."""
    import grp
    import pwd

    name, primary, group, members = None, os.getegid(), None, []
    with contextlib.suppress(KeyError):  # in a container, users and groups often have no entry
        name, primary = pwd.getpwuid(os.geteuid()).pw_name, pwd.getpwuid(os.geteuid()).pw_gid
    with contextlib.suppress(KeyError):
        group, members = grp.getgrgid(gid).gr_name, grp.getgrgid(gid).gr_mem
    same = name == group if name and group else gid == os.geteuid()
    return primary == gid and same and set(members) <= {name}


def _is_pythons(entry: str) -> bool:
    """Whether an entry of the path is the standard library's: what else is installed here must not decide answers."""
    roots = {sys.base_prefix, sys.base_exec_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    installed = {"site-packages", "dist-packages"} & set(entry.replace("\\", "/").split("/"))
    return bool(entry) and not installed and entry.startswith(tuple(roots))


def _error(code: str, what: str, todo: str, exit_code: int) -> int:
    sys.stderr.write("error %s: %s\n  -> %s\n" % (code, what, todo))
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
