#!/bin/sh
# Installs Debian packages in silence where that takes no question: scripts/apt.sh PACKAGE...
# Fails when this is no Debian, or we are not root, or apt-get could not (its words on stderr).
set -eu
command -v apt-get >/dev/null 2>&1 && [ "$(id -u)" = 0 ] || exit 1

log=$(mktemp)
policy=/usr/sbin/policy-rc.d
made_policy=
# shellcheck disable=SC2317 # called by the trap
tidy() {
    rm -f "$log"
    [ -z "$made_policy" ] || rm -f "$policy"
}
trap tidy EXIT
trap 'exit 130' HUP INT TERM

# We want the programs, not a Prometheus server started at boot time's convenience.
if [ -d /run/systemd/system ] && [ ! -e "$policy" ]; then
    made_policy=yes
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
fi

export DEBIAN_FRONTEND=noninteractive
echo "installing Debian packages: $*" >&2
if ! { apt-get update && apt-get install -y --no-install-recommends "$@"; } \
    </dev/null >"$log" 2>&1; then
    tail -n 5 "$log" >&2
    exit 1
fi
