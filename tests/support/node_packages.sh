# shellcheck shell=bash
# Installs the npm packages of docs/examples/node under build/node, once for each package-lock.json.
# Sourced by ./dev from the top of the checkout; the one entry is `need_node_packages`.

readonly NODE_EXAMPLES=docs/examples/node
readonly NODE_FOLDER=build/node

# Without scripts and optional packages nothing is compiled, and nothing is fetched but by npm: zeromq
# brings its binaries along.
npm_ci() {
    cd "$NODE_FOLDER" && npm ci --ignore-scripts --omit=optional --no-audit --no-fund \
        --fetch-retries=2 --fetch-retry-mintimeout=1000 --fetch-retry-maxtimeout=5000 </dev/null
}

# What npm said stays in build/node/npm.log; build/node/installed has the hash of what was installed.
need_node_packages() {
    local wanted
    wanted=$(cat "$NODE_EXAMPLES"/package.json "$NODE_EXAMPLES"/package-lock.json | sha256sum)
    [ "$(cat "$NODE_FOLDER/installed" 2>/dev/null)" != "$wanted" ] || return 0
    rm -rf "$NODE_FOLDER"
    mkdir -p "$NODE_FOLDER"
    cp "$NODE_EXAMPLES"/package.json "$NODE_EXAMPLES"/package-lock.json "$NODE_FOLDER"
    echo "dev: installing the npm packages of $NODE_EXAMPLES" >&2
    if (npm_ci) >"$NODE_FOLDER/npm.log" 2>&1; then
        echo "$wanted" >"$NODE_FOLDER/installed"
        return 0
    fi
    {
        echo "dev: npm cannot install them (no way to its registry?), so node_peer_test will fail:"
        grep -i '^npm err' "$NODE_FOLDER/npm.log" | head -n 5 | sed 's/^/  /'
    } >&2
    return 1
}
