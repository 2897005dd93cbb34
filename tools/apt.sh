#!/bin/sh
# Installs Debian or Ubuntu packages where that is allowed without asking: as root, or with a sudo that needs no password.
# Exit 1 where it is not, or did not work; the caller says what to do by hand.
set -eu

command -v apt-get >/dev/null || exit 1
if [ "$(id -u)" = 0 ]; then
    as_root=
elif sudo -n true 2>/dev/null; then
    as_root='sudo -n'
else
    exit 1
fi

echo "setup: installing the system package $*"

apt() {
    # The lock is waited for: a fresh machine often still runs its first unattended upgrade. Errors stay visible.
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@" >/dev/null
}

# A list that cannot be fetched (a third-party source, say) must not stop a package that is in another one.
apt update || true
apt install --no-install-recommends "$@" || exit 1
