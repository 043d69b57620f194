#!/usr/bin/env bash
# Where the time of authenticate and update goes: a table by crate, from samples of perf. With --write,
# it takes the place of the one in docs/PERFORMANCE.md.
#
#     benches/profile.sh [--write]
#
# Needs Linux's perf, and the right to use it (kernel.perf_event_paranoid at most 2).
set -euo pipefail
cd "$(dirname "$0")/.."
command -v perf >/dev/null || { echo "there is no perf here" >&2; exit 1; }

cargo build --release -p tokenkeep-benches --bin report
report=${CARGO_TARGET_DIR:-target}/release/report
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

# Samples of one process while it does one thing, from the fourth second on: it fills its file before.
# Each sample is one line: the object, and the function in which the processor was.
samples() {
    "$report" --profile "$1" >"$directory/told" &
    local process=$!
    sleep 4
    perf record --quiet --freq 1999 --pid "$process" --output "$directory/perf.data" -- sleep 8
    wait "$process"
    cat "$directory/told" >&2
    perf report --input "$directory/perf.data" --no-children --stdio --sort dso,sym \
        --percent-limit 0 --field-separator '|' 2>/dev/null
}

# Shares by crate. What a function has inlined counts as that function's.
shares() {
    awk -F '|' '
        /^#/ || NF < 3 { next }
        {
            share = $1 + 0; object = $2; name = $3
            sub(/^ *\[[.k]\] */, "", name)
            if (object ~ /kernel/ || $3 ~ /\[k\]/) part = "kernel: system calls, disk, page faults"
            else if (name ~ /malloc|calloc|realloc|cfree|_int_free|^free|rust_alloc|rdl_/) part = "allocator"
            else if (object ~ /libc|ld-linux|vdso|libm/) part = "libc"
            else if (name ~ /^<?&?(mut )?(dyn )?tokenkeep|tokenkeep[_a-z]*::/) part = "tokenkeep"
            else if (name ~ /serde|itoa|ryu|zmij/) part = "serde"
            else if (name ~ /sha2|digest|hmac/) part = "sha2"
            else if (name ~ /rusqlite|hashlink/) part = "rusqlite"
            else if (name ~ /uuid|chrono|getrandom/) part = "uuid, chrono, getrandom"
            else if (name ~ /::/) part = "the standard library and the bench"
            else part = "SQLite"
            sum[part] += share; all += share
        }
        END { for (part in sum) printf "%s|%.1f\n", part, 100 * sum[part] / all }'
}

for what in authenticate update update-normal; do
    samples "$what" | shares | sort -t '|' -k 2 -rn >"$directory/$what"
done

table() {
    echo "| share of the time, % | authenticate, SQLite | update, FULL | update, NORMAL |"
    echo "|---|---|---|---|"
    cut -d '|' -f 1 "$directory"/{authenticate,update,update-normal} | awk '!seen[$0]++' |
        while read -r part; do
            printf '| %s |' "$part"
            for what in authenticate update update-normal; do
                awk -F '|' -v part="$part" \
                    '$1 == part { share = $2 } END { printf " %.1f |", share }' "$directory/$what"
            done
            echo
        done
}

table | tee "$directory/table"
if [ "${1:-}" = --write ]; then
    sed -i -e "/^<!-- profile -->$/,/^<!-- end of profile -->$/ {
        /^<!-- profile -->$/ { p; a\\

        r $directory/table
        a\\

        }
        /^<!-- end of profile -->$/ p
        d
    }" docs/PERFORMANCE.md
fi
