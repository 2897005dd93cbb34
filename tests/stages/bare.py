"""An interpreter that has the locked packages and nothing else: what an agent runs mlci.pyz with.

The packages are links to those of this interpreter, so that making one takes a second and no network.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def interpreter(folder: Path) -> Path:
    """Make a virtual environment in `folder`; returns its interpreter. mlci itself is not in it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    version = f"python{sys.version_info[0]}.{sys.version_info[1]}"
    packages = folder / "lib" / version / "site-packages"
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", (ROOT / "requirements.txt").read_text(), re.MULTILINE):
        try:
            files = distribution(name).files or []
        except PackageNotFoundError:  # another platform's
            continue
        for top in {file.parts[0] for file in files} - {"..", "__pycache__"}:
            source = Path(str(distribution(name).locate_file(top)))
            if source.exists() and not (packages / top).exists():
                (packages / top).symlink_to(source)
    return folder / "bin" / "python3"


def environment(python: Path, **more: str) -> dict[str, str]:
    """Variables of a process in which `python` is what the shell finds, and nothing leads back to this checkout."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV", "MLCI_"))
    }
    return {**kept, "PATH": f"{python.parent}:{os.environ['PATH']}", **more}
