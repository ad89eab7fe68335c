#!/usr/bin/env bash
# Builds the archive and looks at it as Ansible Galaxy does before it takes one, and lints what
# Galaxy and the documentation are made from. Nothing is asked of Galaxy itself. Everything is
# under .cache/galaxy-importer and can be deleted.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
work=$root/.cache/galaxy-importer
rm -rf "$work"
mkdir -p "$work/importer"
cd "$root"

# Nobody's settings but ours: the importer asks ansible-doc and ansible-lint.
export HOME=$work/home ANSIBLE_HOME=$work/home/.ansible XDG_CACHE_HOME=$work/home/.cache LC_ALL=C.UTF-8
unset ANSIBLE_COLLECTIONS_PATH
mkdir -p "$HOME"

echo "== Archive"
ansible-galaxy collection build --output-path "$work"
archive=$(echo "$work"/*.tar.gz)

echo "== galaxy-importer"
export GALAXY_IMPORTER_CONFIG=$root/tests/galaxy-importer.cfg
export GALAXY_IMPORTER_ANSIBLE_LOCAL_TMP=$work/importer GALAXY_IMPORTER_TMP_ROOT_DIR=$work/importer
# It ends well with warnings too, and leaves its result where it stands.
(cd "$work" && python -m galaxy_importer.main "$archive" | tee importer.log)
if grep -E '^(WARNING|ERROR|CRITICAL)' "$work/importer.log" || [[ ! -e $work/importer_result.json ]]; then
    echo "ERROR: Galaxy would complain of that." >&2
    exit 1
fi

echo "== antsibull-changelog"
antsibull-changelog lint

echo "== antsibull-docs"
ANSIBLE_COLLECTIONS_PATH=$root/.cache/checkout antsibull-docs lint-collection-docs --plugin-docs .
