# shellcheck shell=bash
# Installs Debian packages that deploy/packages.txt lists and the machine lacks.
# Sourced by ./dev from the top of the checkout; the one entry is `need_packages GROUP ...`.

readonly PACKAGE_LIST=deploy/packages.txt

# Prints "name<TAB>group[, group]: reason" for each package of the given groups.
packages_of() {
    awk -v wanted="$*" '
        BEGIN { split(wanted, w, " "); for (i in w) want[w[i]] = 1 }
        /^[^#[:space:]]/ {
            note = $0; sub(/^[^#]*# */, "", note)
            groups = note; sub(/:.*/, "", groups)
            n = split(groups, g, /, */)
            for (i = 1; i <= n; i++) if (g[i] in want) { print $1 "\t" note; break }
        }' "$PACKAGE_LIST"
}

# Filters the lines of packages_of down to those that are not installed, with one dpkg-query. What an
# installed package provides is there: nodejs from elsewhere than Debian brings npm along.
packages_missing() {
    local listed installed name note
    listed=$(packages_of "$@")
    [ -n "$listed" ] || return 0
    installed=$(dpkg-query -W -f='${db:Status-Status} ${Package}, ${Provides}\n' |
        sed -n 's/^installed //p' | tr -s ', ' '\n')
    while IFS=$'\t' read -r name note; do
        grep -qxF "$name" <<<"$installed" || printf '%s\t%s\n' "$name" "$note"
    done <<<"$listed"
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo -- "$@"
    fi
}

# packages_give_up WHY MISSING: says which packages are lacking, what for, and why; ends the script.
packages_give_up() {
    {
        echo "dev: cannot install what this command needs: $1"
        sed 's/^/  /; s/\t/  # /' <<<"$2"
        echo "dev: as root: apt-get install $(cut -f1 <<<"$2" | paste -sd' ')"
    } >&2
    exit 1
}

# apt_get LOG ARG ...: quiet; what it said is in LOG.
apt_get() {
    local log=$1
    shift
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -y -o Dpkg::Use-Pty=0 "$@" \
        >>"$log" 2>&1 </dev/null
}

# apt_install LOG NAME ...: all at once, else one by one, so that only what cannot be had is missing.
apt_install() {
    local log=$1 name
    shift
    # A failed update is no reason to stop: the lists that are there may do.
    apt_get "$log" update || true
    apt_get "$log" install --no-install-recommends "$@" && return
    for name in "$@"; do
        apt_get "$log" install --no-install-recommends "$name" || true
    done
}

# need_packages GROUP ...: returns at once when nothing is missing, else installs, or ends the script.
need_packages() {
    local missing left log
    [ $# -gt 0 ] || return 0
    command -v dpkg-query >/dev/null ||
        packages_give_up "this is no Debian (there is no dpkg-query)" "$(packages_of "$@")"
    missing=$(packages_missing "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        packages_give_up "this is not root and there is no sudo" "$missing"
    fi
    echo "dev: installing $(cut -f1 <<<"$missing" | paste -sd' ')" >&2
    log=$(mktemp)
    # shellcheck disable=SC2046  # names are words
    apt_install "$log" $(cut -f1 <<<"$missing")
    left=$(packages_missing "$@")
    if [ -n "$left" ]; then
        grep '^[EW]:' "$log" | sort -u >&2 || true
        rm -f "$log"
        packages_give_up "apt-get failed, what it said is above" "$left"
    fi
    rm -f "$log"
}
