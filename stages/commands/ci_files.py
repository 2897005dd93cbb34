"""What a repository needs for a CI system: `mlci init --ci NAME` writes it, `examples/ci` shows it."""

from __future__ import annotations

from pathlib import Path

#: CI system → path in the repository and template.
FILES = {
    "jenkins": ("Jenkinsfile", "ci-jenkins.txt"),
    "github": (".github/workflows/mlci.yml", "ci-github.txt"),
    "circleci": (".circleci/config.yml", "ci-circleci.txt"),
    "travis": (".travis.yml", "ci-travis.txt"),
}


def files(name: str) -> dict[str, str]:
    """Path in the repository → text. Raises: KeyError: there is no such CI system in `FILES`."""
    path, template = FILES[name]
    return {path: (Path(__file__).parent / "templates" / template).read_text(encoding="utf-8")}
