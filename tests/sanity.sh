#!/usr/bin/env bash
# Runs all of ansible-test's sanity tests over the whole checkout, without an ignore.
# ansible-test wants to stand in …/ansible_collections/NAMESPACE/NAME, so it runs in a copy; its
# caches go to a home of our own. Everything is under .cache/sanity and can be deleted.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.cache/venv
work=$root/.cache/sanity
copy=$work/ansible_collections/rpi_camera/fleet
home=$work/home

# pip runs in that home too: give it the user's settings, if there are any.
mkdir -p "$home/.ansible/test/cache" "$home/.config"
if [[ -d ${HOME:-}/.config/pip ]]; then
    ln -sfn "$HOME/.config/pip" "$home/.config/pip"
fi

# ansible-test would download a script that puts pip into its environments. Python brings one.
requirements=$("$venv/bin/python" -c \
    'import ansible_test._internal.python_requirements as module; print(module.__file__)')
pip=$(sed -n "s/^ *pip='\([0-9.]*\)',$/\1/p" "$requirements")
cat >"$home/.ansible/test/cache/get_pip_${pip//./_}.py" <<'PYTHON'
"""Puts the pip that is asked for into this environment, by way of the one that Python brings."""

import subprocess
import sys

wanted = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
subprocess.run([sys.executable, "-m", "ensurepip"], check=True, stdout=subprocess.DEVNULL)
subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *wanted], check=True)
PYTHON

rm -rf "$copy"
mkdir -p "$copy"
cd "$root"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' file; do
        # One that was deleted since is still in git's list.
        if [[ -e $file ]]; then printf '%s\0' "$file"; fi
    done |
    tar --null --create --files-from=- | tar --extract --directory="$copy"
# A repository of its own: the one around it ignores the copy, and ansible-test follows git.
git init --quiet "$copy"

cd "$copy"
version=$("$venv/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
env -u ANSIBLE_COLLECTIONS_PATH HOME="$home" LC_ALL=C.UTF-8 PATH="$venv/bin:$PATH" \
    "$venv/bin/ansible-test" sanity --local --python "$version" --color no "$@"
