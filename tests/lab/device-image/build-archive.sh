#!/bin/sh
# Builds a small signed apt repository out of PyPI's packages, with the names that Raspberry Pi's
# archive gives them.   build-archive.sh PACKAGES TARGET
set -eu
packages=$1 target=$2
modules=usr/lib/python3/dist-packages
mkdir -p "$target"

# make_deb NAME VERSION DEPENDS ROOT
make_deb() {
    mkdir -p "$4/DEBIAN"
    printf '%s\n' "Package: $1" "Version: $2" "Architecture: $(dpkg --print-architecture)" \
        "Depends: $3" "Maintainer: the lab <lab@localhost>" "Section: python" "Priority: optional" \
        "Description: $1 for simulated devices" >"$4/DEBIAN/control"
    dpkg-deb --root-owner-group --build "$4" "$target/$1_$2.deb" >/dev/null
}

grep -v '^#' "$packages" | while read -r name pinned depends; do
    echo "package $name from $pinned"
    root=$(mktemp -d)
    chmod 0755 "$root"
    pip install --quiet --no-deps --no-compile --target "$root/$modules" "$pinned"
    make_deb "$name" "${pinned#*==}" "$depends" "$root"
done

root=$(mktemp -d)
chmod 0755 "$root"
mkdir -p "$root/$modules"
cp /build/pykms.py "$root/$modules/"
make_deb python3-kms++ 0.1 python3 "$root"

cd "$target"
GNUPGHOME=$(mktemp -d)
export GNUPGHOME
gpg --batch --quiet --passphrase '' --quick-generate-key 'lab archive' ed25519 sign never
gpg --armor --export >archive-keyring.asc
apt-ftparchive packages . >Packages
apt-ftparchive -o APT::FTPArchive::Release::Origin='Raspberry Pi stand-in' release . >/tmp/Release
gpg --batch --clearsign --output InRelease /tmp/Release
