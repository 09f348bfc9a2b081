#!/usr/bin/env bash
# Fuzzes one target and says how much of the code it reached; `./dev fuzz [NAME [SECONDS]]` calls it.
#
# New inputs stay in build/fuzz-found/NAME, so that a second run goes on where the first ended; the
# corpus of the repository, tests/fuzz/corpus/NAME, is only read. What crashed is in build/fuzz-crashes.
set -euo pipefail

readonly COVERAGE_BUILD=build/fuzzcov

fuzz_names() {
    cmake --build --preset fuzz --target help | sed -n 's/^fuzz_\(.*\): phony$/\1/p' | sort
}

# fuzz_run NAME SECONDS: libFuzzer writes to the first folder and only reads the second.
fuzz_run() {
    ./dev build fuzz "fuzz_$1"
    mkdir -p "build/fuzz-found/$1" build/fuzz-crashes
    build/fuzz/bin/"fuzz_$1" -max_total_time="$2" -timeout=10 -print_final_stats=1 \
        -artifact_prefix="build/fuzz-crashes/fuzz_$1-" "${FOLDERS[@]}"
}

# Sanitizers would blur the counts, so coverage has a build of its own.
coverage_build() {
    cmake -S . -B "$COVERAGE_BUILD" -G Ninja -DCMAKE_C_COMPILER=clang -DCMAKE_BUILD_TYPE=Debug \
        -DQUERN_FUZZ=ON -DCMAKE_C_FLAGS='-fprofile-instr-generate -fcoverage-mapping' >/dev/null
    cmake --build "$COVERAGE_BUILD" --target "fuzz_$1" >/dev/null
}

# Of llvm-cov's ten columns: the file from the top of the checkout, lines, regions.
coverage_table() {
    awk -v top="$PWD/" '
        NF == 10 && $2 ~ /^[0-9]+$/ {
            name = index($1, top) == 1 ? substr($1, length(top) + 1) : $1
            printf "%-40s %5d lines %8s   %5d regions %8s\n", name, $8, $10, $2, $4
        }'
}

# fuzz_coverage NAME: runs every input once and prints what share of our files they reached.
fuzz_coverage() {
    local program=$COVERAGE_BUILD/bin/fuzz_$1 profile=$COVERAGE_BUILD/$1
    coverage_build "$1"
    LLVM_PROFILE_FILE=$profile.profraw "$program" -runs=0 "${FOLDERS[@]}" >/dev/null 2>&1 || {
        echo "dev: an input that is kept crashes fuzz_$1, so there is no coverage to report" >&2
        return 1
    }
    llvm-profdata merge -o "$profile.profdata" "$profile.profraw"
    llvm-cov report "$program" -instr-profile="$profile.profdata" -show-branch-summary=false \
        -ignore-filename-regex="^($PWD/tests|/usr)/" | coverage_table
}

main() {
    local name=${1:-} seconds=${2:-600} status=0
    cmake --preset fuzz >/dev/null
    if [ -z "$name" ]; then
        fuzz_names
        return
    fi
    fuzz_names | grep -qxF "$name" || {
        echo "dev: no fuzzer '$name'; ./dev fuzz lists them" >&2
        exit 2
    }
    FOLDERS=("build/fuzz-found/$name")
    [ ! -d "tests/fuzz/corpus/$name" ] || FOLDERS+=("tests/fuzz/corpus/$name")
    fuzz_run "$name" "$seconds" || status=$?
    fuzz_coverage "$name"
    return "$status"
}

main "$@"
