"""The first file of mlci.pyz. Any Python can read it, so that one that is too old says so instead of a syntax error."""

import os
import sys

if __name__ == "__main__":
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    if not supported and not os.environ.get("MLCI_PYTHON"):
        for name in ("python3.13", "python3.12", "python3.11"):
            for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
                path = os.path.join(folder, name)  # noqa: PTH118  an old Python has no pathlib
                if os.access(path, os.X_OK):
                    os.execv(path, [path] + sys.argv)  # noqa: RUF005, S606  an old Python cannot unpack in a list
    if not supported:
        version = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write("error DEP_PYTHON: mlci needs Python 3.11, 3.12 or 3.13; this is " + version + "\n")
        sys.stderr.write("  -> install one of them, or name it: MLCI_PYTHON, in Jenkins the argument python\n")
        sys.exit(5)

    from stages.bootstrap.start import main

    sys.exit(main())
