#!/bin/sh
# Checks the base, and installs what the server needs whatever its camera is. Everything that is made from
# here on is younger than the file that it begins with; slim.sh goes by that.
set -eu

refuse() {
    echo "$1" >&2
    exit 2
}

touch /container/began
# A base without one is none of those below.
# shellcheck source=/dev/null
[ ! -r /etc/os-release ] || . /etc/os-release
case ${VERSION_CODENAME:-none} in
bookworm | trixie) ;;
*) refuse "BASE is ${PRETTY_NAME:-a system without a name}; allowed is Debian or Raspberry Pi OS, bookworm or trixie" ;;
esac

command -v apt-get >/dev/null || refuse "BASE has no apt-get; allowed is a Debian or Raspberry Pi OS as it comes, not an image of the camera server"

export DEBIAN_FRONTEND=noninteractive
apt-get -qy -o Acquire::Retries=3 update
apt-get -qy -o Acquire::Retries=3 install --no-install-recommends ca-certificates python3
