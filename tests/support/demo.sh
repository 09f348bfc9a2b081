#!/usr/bin/env bash
# ./dev demo: starts Quern, gives it work, kills all of it with SIGKILL in the middle, starts it again,
# and shows that every job that was accepted has ended. Everything happens in a temporary folder.
set -euo pipefail

readonly bin=build/release/bin
QUERN_DATA=$(mktemp -d)
export QUERN_DATA
tree=

say() {
    printf '\n\033[1m%s\033[0m\n' "$*"
}

show() {
    printf '$ quern %s\n' "$*"
    "$bin/quern" "$@"
}

# All processes of the tree, found from its own pid, never by name.
processes() {
    local pid=$1 child
    echo "$pid"
    local children=()
    read -ra children <"/proc/$pid/task/$pid/children" || true
    for child in "${children[@]}"; do
        processes "$child"
    done
}

finish() {
    if [ -n "$tree" ] && kill -TERM "$tree" 2>/dev/null; then
        wait "$tree" || true
    fi
    rm -rf "$QUERN_DATA"
}
trap finish EXIT

start() {
    "$bin/quern" up >"$QUERN_DATA.log" 2>&1 &
    tree=$!
    # `quern up` says when it is ready, within 5 s; a broken start ends it.
    until grep -qs 'quern is ready' "$QUERN_DATA.log"; do
        kill -0 "$tree" 2>/dev/null || { cat "$QUERN_DATA.log" >&2; exit 1; }
        read -rt 0.05 <> <(:) || true
    done
    grep 'quern is ready' "$QUERN_DATA.log"
    rm -f "$QUERN_DATA.log"
}

# Waits until nothing waits or runs any more, telling how far it is.
until_quiet() {
    local jobs
    while true; do
        jobs=$("$bin/quern" status | grep '^jobs')
        [ ! -t 1 ] || printf '\r  %-70s' "$jobs"
        [ "$jobs" != 'jobs     0 ready, 0 scheduled, 0 blocked, 0 running' ] || break
        read -rt 0.3 <> <(:) || true
    done
    printf '\r  %-70s\n' "$jobs"
}

say '1. Broker, supervisor and workers as one process tree'
start

say '2. One job, and its answer'
show submit echo --payload '{"question":"does it work?"}' --wait

say '3. 500 jobs of 20 ms each, on three worker processes, and one that fails twice before it succeeds'
show scale default=3
echo "$ quern submit sleep --payload '{\"ms\":20}' --count 500"
"$bin/quern" submit sleep --payload '{"ms":20}' --count 500 >"$QUERN_DATA/ids"
echo "$(wc -l <"$QUERN_DATA/ids") jobs accepted, the first is $(head -n 1 "$QUERN_DATA/ids")"
flaky=$("$bin/quern" submit fail --payload '{"times":2}' --backoff 200ms)
show why "$(tail -n 1 "$QUERN_DATA/ids")"

say '4. kill -9 of everything, in the middle of it'
mapfile -t all < <(processes "$tree")
kill -KILL "${all[@]}" 2>/dev/null || true
{ wait "$tree" || true; } 2>/dev/null
echo "killed ${#all[@]} processes"

say '5. Started again: what was accepted goes on'
start
until_quiet
show job "$flaky"
show status

ended=$("$bin/quern" status | sed -n 's/^kept *\([0-9]*\) ended jobs, \([0-9]*\) of them dead$/\1 \2/p')
if [ "$ended" != '502 0' ]; then
    echo "demo: 502 jobs were accepted; ended and dead are: $ended" >&2
    exit 1
fi
say 'All 502 jobs that were accepted have ended, none is dead. Next: README.md'
