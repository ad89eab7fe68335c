#!/bin/sh
# Installs the server's own package beside its dependencies, and lays out both for the image, apart from
# each other: who changes the server changes the smaller one.
set -eu

venv=/opt/rpi_camera/current/venv
pip="/usr/bin/python3 -m pip --python $venv/bin/python"
$pip install --quiet --no-compile --no-deps --no-build-isolation --no-warn-script-location --root /image/package /payload
$pip uninstall --quiet --yes flit-core
mkdir -p /image/dependencies/opt
mv /opt/rpi_camera /image/dependencies/opt/
/usr/bin/python3 -m compileall -q --invalidation-mode unchecked-hash -s /image/package -p / /image/package
find /image -exec touch --no-dereference --date="@$SOURCE_DATE_EPOCH" {} +
echo "== The server's dependencies: $(du -sm /image/dependencies | cut -f 1) MB, the server: $(du -sk /image/package | cut -f 1) kB"
