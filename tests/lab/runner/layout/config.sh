#!/usr/bin/env bash
# Registers the runner with GitHub, or removes it: ./config.sh [remove] [options]

if [ "$(id -u)" -eq 0 ] && [ -z "$RUNNER_ALLOW_RUNASROOT" ]; then
    echo "Must not run with sudo"
    exit 1
fi

# Who is not root often has no /sbin in PATH.
libraries=$(PATH="$PATH:/usr/sbin:/sbin" ldconfig -p)
if [[ $libraries != *libicu* ]]; then
    echo "Libicu's dependencies is missing for Dotnet Core 6.0"
    exit 1
fi

cd "$(dirname "$(readlink --canonicalize "${BASH_SOURCE[0]}")")" || exit 1
# shellcheck source-path=SCRIPTDIR
# shellcheck source-path=SCRIPTDIR
. ./env.sh

if [ "${1,,}" = remove ]; then
    ./bin/Runner.Listener "$@"
else
    ./bin/Runner.Listener configure "$@"
fi
