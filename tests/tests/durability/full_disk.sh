#!/bin/sh
# Lets a process fill a small file system, and copies what is there in the end:
#
#     full_disk.sh directory program copy
#
# Half of it is taken by a file of somebody else's, `ballast`. Then has the same process start on it once
# more while nothing can be written there. Runs in mount namespaces of its own. Exits with 77 where the
# machine cannot do that.
set -eu
directory=$1 program=$2 copy=$3
. "$(dirname "$0")/unmount.sh"

mount -t tmpfs -o size=4m tmpfs "$directory" || exit 77
head -c 2m /dev/zero >"$directory/ballast"
"$program" --exact child::child_process --nocapture 2>/dev/null
cp "$directory"/tokens.db* "$copy"
mount -o remount,ro "$directory" || exit 77
"$program" --exact child::child_process --nocapture 2>/dev/null
unmount "$directory"
