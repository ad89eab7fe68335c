#!/usr/bin/env bash
# What the unit runs: the listener, with the PATH that config.sh was run with.

# SIGTERM, since what runs in the background ignores SIGINT until it says otherwise.
trap 'stopping=yes; [ -z "$wrapper" ] || kill -TERM "$wrapper"' TERM INT

if [ -f .path ]; then
    PATH=$(cat .path)
    export PATH
    echo ".path=$PATH"
fi

./bin/RunnerService &
wrapper=$!
[ -z "$stopping" ] || kill -TERM "$wrapper"
# It ends at a signal at once, and the wrapper some time later.
wait "$wrapper"
trap - TERM INT
wait "$wrapper"
