#!/bin/sh
# Makes sure that the programs which tests call are here; installs them where apt-get may.
# Silent when they are. Otherwise one line; and a failure where CI=true.
set -eu
cd "$(dirname "$0")/.."

missing() { # the Debian packages of the programs not on the PATH
    for pair in promtool:prometheus amtool:prometheus-alertmanager chromium:chromium; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || printf ' %s' "${pair#*:}"
    done
}

packages=$(missing)
[ -n "$packages" ] || exit 0
# shellcheck disable=SC2086 # a list of words
sh scripts/apt.sh $packages || true
packages=$(missing)
[ -n "$packages" ] || exit 0
echo "tests that need them are skipped; install the Debian packages (or their like):$packages" >&2
[ "${CI:-}" != true ]
