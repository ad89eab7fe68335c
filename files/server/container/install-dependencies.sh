#!/bin/sh
# Installs what the server is made of, with the hashes of requirements.txt, into a virtual environment at
# the path where it is going to be.
set -eu

venv=/opt/rpi_camera/current/venv
# The layer before this one may be from weeks ago, and its lists name packages that are gone by now.
apt-get -qy -o Acquire::Retries=3 update
apt-get -qy -o Acquire::Retries=3 install --no-install-recommends binutils python3-pip python3-venv
# The base may have a Python of its own, which does not know the cameras' packages.
/usr/bin/python3 -m venv --system-site-packages --without-pip $venv
/usr/bin/python3 -m pip --python $venv/bin/python install --quiet --no-compile --require-hashes --only-binary :all: --requirement /payload/requirements.txt || {
    echo "The Python packages of requirements.txt could not be had from ${PIP_INDEX_URL:-PyPI} (PIP_INDEX_URL); pip says why, above" >&2
    exit 2
}
# Some wheels come with their debugger's symbols, which are most of them.
find $venv -name '*.so*' -type f -exec strip --strip-debug {} +
# By its content, not its time: read once, never checked again.
/usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash $venv/lib
