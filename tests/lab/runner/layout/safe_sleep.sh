#!/usr/bin/env bash
# Sleeps for a number of seconds.

exec sleep "$1"
