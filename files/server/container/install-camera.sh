#!/bin/sh
# Installs CAMERA_PACKAGES from ARCHIVE, which the key ARCHIVE_KEY has signed; see the Dockerfile.
set -eu

refuse() {
    echo "$1" >&2
    exit 2
}

[ -n "$CAMERA_PACKAGES" ] || exit 0
# shellcheck source=/dev/null
. /etc/os-release
keyring=/etc/apt/keyrings/camera.asc
mkdir -p /etc/apt/keyrings
# A suite that ends with a slash has no components.
[ -z "$ARCHIVE" ] || echo "$ARCHIVE" | grep -Eqx '[a-z+]+:/[^ ]+ ([^ ]*/|[^ ]+( [^ ]+)+)' ||
    refuse "ARCHIVE is '$ARCHIVE'; allowed is URI SUITE COMPONENT…, such as http://archive.raspberrypi.com/debian trixie main"
case $ARCHIVE_KEY in
'' | *'-----BEGIN PGP PUBLIC KEY BLOCK-----'*) ;;
*) refuse "ARCHIVE_KEY is no public key, ASCII-armored; such a one begins with -----BEGIN PGP PUBLIC KEY BLOCK-----" ;;
esac
if [ -n "$ARCHIVE_KEY" ]; then
    echo "$ARCHIVE_KEY" >$keyring
elif [ -n "$ARCHIVE" ]; then
    refuse "ARCHIVE is '$ARCHIVE' and ARCHIVE_KEY is empty; it has to hold the public key, ASCII-armored, that signs that archive"
else
    cp "$(dirname "$0")/raspberrypi-archive-keyring.asc" $keyring
fi
chmod 0644 $keyring
archive=${ARCHIVE:-http://archive.raspberrypi.com/debian $VERSION_CODENAME main}
echo "deb [signed-by=$keyring] $archive" >/etc/apt/sources.list.d/camera.list

export DEBIAN_FRONTEND=noninteractive
apt-get -qy -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update ||
    refuse "ARCHIVE is '$archive': it gives no list of packages that the key has signed; apt says why, above"
# shellcheck disable=SC2086 # A list of names.
apt-get -qy -o Acquire::Retries=3 install --no-install-recommends -- $CAMERA_PACKAGES ||
    refuse "CAMERA_PACKAGES is '$CAMERA_PACKAGES': they cannot be installed from '$archive'; apt says why, above"
