#!/usr/bin/env bash
# Runs `./dev COMMAND` of the last commit in a new Debian 12 that has nothing but git; `./dev fresh`
# calls it. Proof that deploy/packages.txt is complete and that a newcomer's first command works.
#
# The new root lives in a temporary folder. All work on it is done by a second run of this script
# (--inside) in namespaces of its own for mounts and processes: when that one ends, however it ends,
# its mounts and all that ran there are gone, and the folder can be removed.
set -euo pipefail

readonly RELEASE=bookworm
readonly LOG=build/fresh.log
readonly TAIL_LINES=40
readonly TRUSTED=/etc/ssl/certs/of-the-machine.crt

say() {
    echo "fresh: $*"
}

# --- inside the namespaces ----------------------------------------------------------------------

# step TEXT COMMAND ...: what the command prints goes to the log. Never call it in a condition: there
# `set -e` does not hold, and the steps rely on it.
step() {
    local text=$1 start=$SECONDS
    shift
    say "$text ..."
    "$@" >>"$LOG" 2>&1 </dev/null
    say "$text: $((SECONDS - start)) s"
}

# "URI suite" of each part of Debian that this machine's apt installs from.
apt_sources() {
    # shellcheck disable=SC2016  # apt-get fills these in
    apt-get indextargets --format '$(CREATED_BY) $(COMPONENT) $(REPO_URI) $(RELEASE) $(ORIGIN)' |
        awk '$1 == "Packages" && $2 == "main" && $5 == "Debian" { print $3, $4 }' | sort -u
}

# apt_carry_over ROOT: the machine's sources and its way to them (proxies, retries) hold inside too.
apt_carry_over() {
    apt_sources | sed 's/.*/deb & main/' >"$1/etc/apt/sources.list"
    apt-config dump | grep -E '^Acquire::(http|https|Retries|ForceIPv4)[: ]' \
        >"$1/etc/apt/apt.conf.d/90carried-over" || true
    cp -L /etc/resolv.conf /etc/hosts "$1/etc/"
}

# trust_carry_over ROOT: where a proxy signs what it lets through, npm must know the certificates that
# this machine trusts.
trust_carry_over() {
    cp -L /etc/ssl/certs/ca-certificates.crt "$1$TRUSTED" || true
}

make_root() {
    local mirror
    mirror=$(apt_sources | awk -v suite="$RELEASE" '$2 == suite { print $1; exit }')
    if [ -z "$mirror" ]; then
        say "apt on this machine has no source for Debian $RELEASE, so there is no mirror to use"
        return 1
    fi
    debootstrap --variant=minbase --include=git,ca-certificates "$RELEASE" "$1" "$mirror"
    apt_carry_over "$1"
    trust_carry_over "$1"
    mount -t proc proc "$1/proc"
    mount -t tmpfs tmpfs "$1/dev/shm"
    mkdir -p "$1/dev/pts"
    mount -t devpts -o newinstance,ptmxmode=0666 devpts "$1/dev/pts"
}

# copy_commit ROOT: clones the last commit, and nothing that is not committed, to ROOT/quern.
copy_commit() {
    git bundle create -q "$1/quern.bundle" HEAD
    chroot "$1" git -c advice.detachedHead=false clone -q /quern.bundle /quern
}

# run_dev ROOT COMMAND ...: of the environment only proxies go along.
run_dev() {
    local root=$1 proxies
    shift
    mapfile -t proxies < <(env | grep -iE '^(http|https|ftp|no|all)_proxy=' || true)
    # shellcheck disable=SC2016  # the shell inside expands it
    env -i HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 CI=true \
        NODE_EXTRA_CA_CERTS="$TRUSTED" "${proxies[@]}" \
        chroot "$root" sh -c 'cd /quern && exec ./dev "$@"' dev "$@"
}

inside() {
    local root=$1
    shift
    step "makes a Debian $RELEASE" make_root "$root"
    step "clones the last commit" copy_commit "$root"
    step "./dev $*" run_dev "$root" "$@"
}

# --- outside ------------------------------------------------------------------------------------

ROOT=
CHILD=

# Ends the first process of the namespaces, and all others with it; then nothing is mounted any more.
clean_up() {
    if [ -n "$CHILD" ]; then
        local first
        first=$(cat "/proc/$CHILD/task/$CHILD/children" 2>/dev/null || true)
        # shellcheck disable=SC2086  # one number, or none
        [ -z "$first" ] || kill -KILL $first
        wait "$CHILD" || true
    fi
    rm -rf --one-file-system "$ROOT"
}

# The work runs in the background because only so a signal reaches this script at once.
outside() {
    local status=0
    ROOT=$(mktemp -d -t quern-fresh.XXXXXX)
    trap clean_up EXIT
    trap 'exit 130' INT TERM HUP
    chmod 755 "$ROOT"
    [ -z "$(git status --porcelain)" ] || say "changes that are not committed are left out"
    unshare --mount --pid --fork --kill-child --mount-proc bash "$0" --inside "$ROOT" "$@" &
    CHILD=$!
    wait "$CHILD" || status=$?
    CHILD=
    tail -n "$TAIL_LINES" "$LOG"
    say "exit status $status; the whole log is $LOG"
    return "$status"
}

main() {
    if [ "${1:-}" = --inside ]; then
        shift
        inside "$@"
        return
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "needs root, because it makes a root folder of its own; try: sudo ./dev fresh" >&2
        exit 1
    fi
    [ $# -gt 0 ] || set -- test
    mkdir -p build
    : >"$LOG"
    outside "$@"
}

main "$@"
