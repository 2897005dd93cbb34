"""The first file of mlci.pyz. Any Python can read it, so that one that is too old says so instead of a syntax error."""

import os
import sys

if __name__ == "__main__":
    supported = (3, 11) <= sys.version_info[:2] < (3, 14)
    if not supported and not os.environ.get("MLCI_PYTHON"):
        import subprocess

        # What a version manager puts into the path may refuse to start, or be another version than its name says.
        question = "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))"
        for name in ("python3.13", "python3.12", "python3.11"):
            for folder in os.environ.get("PATH", os.defpath).split(os.pathsep):
                path = os.path.join(folder, name)  # noqa: PTH118  an old Python has no pathlib
                if not os.access(path, os.X_OK):
                    continue
                with open(os.devnull, "w") as silent:  # noqa: PTH123
                    refused = subprocess.call([path, "-c", question], stdout=silent, stderr=silent)
                if not refused:
                    os.execv(path, [path] + sys.argv)  # noqa: RUF005, S606  an old Python cannot unpack in a list
    if not supported:
        version = ".".join(str(part) for part in sys.version_info[:3])
        sys.stderr.write("error DEP_PYTHON: mlci needs Python 3.11, 3.12 or 3.13; this is " + version + "\n")
        sys.stderr.write("  -> install one of them, or name it: MLCI_PYTHON, in Jenkins the argument python\n")
        sys.exit(5)

    from stages.bootstrap.start import main

    sys.exit(main())
