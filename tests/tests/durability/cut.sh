#!/bin/sh
# Cuts the power of a file system while a process writes to it:
#
#     cut.sh image directory options seconds program copy
#
# Mounts the image, starts the program, and cuts after so many seconds (cut.pl). Then mounts it again,
# as after a power cut, and copies what is there. Runs in mount namespaces of its own. Exits with 77
# where the machine cannot do that.
set -eu
image=$1 directory=$2 options=$3 seconds=$4 program=$5 copy=$6
. "$(dirname "$0")/unmount.sh"

mount -o "loop,$options" "$image" "$directory" || exit 77
"$program" --exact child::child_process --nocapture 2>/dev/null &
process=$!
sleep "$seconds"
# Others on this machine must not make it long.
nice -n -20 perl "$(dirname "$0")/cut.pl" "$directory" || failed=$?
# Without its disk it may have ended by itself.
kill -9 $process || true
wait $process || true
unmount "$directory"
[ -z "${failed-}" ] || exit "$failed"
mount -o "loop,$options" "$image" "$directory"
cp "$directory"/tokens.db* "$copy" 2>/dev/null || true
unmount "$directory"
