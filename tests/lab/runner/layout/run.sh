#!/usr/bin/env bash
# Runs the listener in a terminal, anew as long as what ended it may be repeated.

root=$(dirname "$(readlink --canonicalize "${BASH_SOURCE[0]}")")

while :; do
    # An update brings another template while this runs.
    cp --force "$root/run-helper.sh.template" "$root/run-helper.sh"
    "$root/run-helper.sh" "$@"
    status=$?
    if [ $status -eq 2 ]; then
        echo "Restarting runner..."
        continue
    fi
    echo "Exiting runner..."
    if [ $status -eq 7 ] && [ "$ACTIONS_RUNNER_RETURN_VERSION_DEPRECATED_EXIT_CODE" = 1 ]; then
        exit 7
    fi
    exit 0
done
