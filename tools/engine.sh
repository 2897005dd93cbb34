#!/bin/sh
# Installs Docker's engine on Debian and Ubuntu when there is none. The stages and the demo run without it, so a machine
# that cannot have it gets a warning, not an error.
set -eu
cd "$(dirname "$0")/.."

tried=.venv/.mlci-engine-tried

# An engine elsewhere (DOCKER_HOST, a context, a desktop application) serves as well as one of this machine.
for dockerd in dockerd /usr/bin/dockerd /usr/sbin/dockerd /usr/local/bin/dockerd; do
    command -v "$dockerd" >/dev/null && exit 0
done
[ -z "${DOCKER_HOST-}" ] || exit 0
if command -v docker >/dev/null && docker version --format '{{.Server.Version}}' >/dev/null 2>&1; then
    exit 0
fi

if [ ! -e "$tried" ]; then
    touch "$tried"
    if sh tools/apt.sh docker.io; then
        rm -f "$tried"
        exit 0
    fi
fi
echo "setup: warning: no Docker engine; container and service targets need one (Debian, Ubuntu: sudo apt-get install docker.io)" >&2
