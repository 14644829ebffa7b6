#!/bin/sh
# Makes .venv hold one locked requirement set and this project: scripts/setup.sh demo|dev
# Or makes .venv-senders hold the libraries whose spans tests send: scripts/setup.sh senders
#
# Instant when nothing changed. When anything did (requirements, the folder's place, PYTHON=),
# or the last run broke off, it starts over: uv's cache makes that a matter of seconds.
set -eu
cd "$(dirname "$0")/.."

wanted=${1:?usage: scripts/setup.sh demo|dev|senders}
venv=.venv
[ "$wanted" != senders ] || venv=.venv-senders
stamp=$venv/setup-stamp # written last: the set, the inputs' checksum, the place, the interpreter

fail() {
    echo "$*" >&2
    exit 1
}

inputs() { cat pyproject.toml requirements/*.txt scripts/setup.sh | cksum; }

read_stamp() {
    has='' from='' place='' interpreter=''
    [ -r "$stamp" ] || return 0
    { read -r has && read -r from && read -r place && read -r interpreter; } <"$stamp" || has=''
}

is_ready() {
    read_stamp
    case $has in dev | "$wanted") ;; *) return 1 ;; esac
    [ "$from" = "$(inputs)" ] && [ "$place" = "$(pwd -P)" ] || return 1
    [ "${PYTHON:-$interpreter}" = "$interpreter" ] || return 1
    "$venv/bin/python" -I -c '' 2>/dev/null
}

find_python() {
    for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11 python}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Tocsin needs Python 3.11 or newer; ${PYTHON:-python3} is not; make PYTHON=..."
}

install() {
    python=$(find_python)
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        sh scripts/apt.sh python3-venv && "$python" -c 'import ensurepip, venv' 2>/dev/null ||
            fail "$python lacks the venv module; install it (Debian: python3-venv)"
    fi
    echo "setting up $venv: requirements/$wanted.txt on $("$python" --version)" >&2
    rm -rf "$venv"
    if [ "$wanted" = senders ]; then
        .venv/bin/uv --quiet venv --python "$python" "$venv" # the Makefile sets up .venv before
        uv_pip sync --require-hashes "requirements/$wanted.txt"
    else
        install_project
    fi
    { echo "$wanted" && inputs && pwd -P && echo "$python"; } >"$stamp"
}

install_project() {
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip -qq --disable-pip-version-check install --no-deps --require-hashes \
        -r requirements/bootstrap.txt
    uv_pip sync --require-hashes "requirements/$wanted.txt"
    uv_pip install --no-deps --no-build-isolation --editable .
}

uv_pip() {
    command=$1
    shift
    .venv/bin/uv --quiet pip "$command" --python "$venv/bin/python" "$@"
}

is_ready && exit 0
# Two makes at once: the second waits, then finds the work done.
if command -v flock >/dev/null 2>&1; then
    exec 9>"$venv.lock"
    flock 9
    is_ready && exit 0
fi
[ "$has" != dev ] || wanted=dev # never take the developer's tools away
UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-180}
export UV_HTTP_TIMEOUT
install
