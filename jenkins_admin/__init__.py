"""The admin client: a Jenkins for models from one file, and jobs that answer.

`from jenkins_admin import Admin` is the Python side of `mlci-admin`. It is imported when it is first named, so that
the command line starts quickly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jenkins_admin.admin import Admin

__all__ = ["Admin"]


def __getattr__(name: str) -> Any:
    if name == "Admin":
        from jenkins_admin.admin import Admin

        return Admin
    message = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(message)
