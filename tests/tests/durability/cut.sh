#!/bin/sh
# Cuts the power of a file system while a process writes to it:
#
#     cut.sh image directory options seconds program copy
#
# Mounts the image, starts the program, and after so many seconds tells the file system to take and
# write nothing any more, without flushing its journal (FS_IOC_SHUTDOWN with
# EXT4_GOING_FLAGS_NOLOGFLUSH). Then mounts it again, as after a power cut, and copies what is there.
# Runs in mount namespaces of its own. Exits with 77 where the machine cannot do that.
set -eu
image=$1 directory=$2 options=$3 seconds=$4 program=$5 copy=$6

mount -o "loop,$options" "$image" "$directory" || exit 77
"$program" --exact child::child_process --nocapture 2>/dev/null &
process=$!
sleep "$seconds"
# What is acknowledged behind the first line may be so by a disk that is no more, and what begins behind
# the second reaches no disk. They are close together, or too much would be in doubt.
perl -e '
    sysopen(my $directory, $ARGV[0], 0) or exit 77;
    my $how = pack("I", 2);
    syswrite(STDOUT, "cutting\n");
    ioctl($directory, 0x8004587D, $how) or exit 77;
    syswrite(STDOUT, "cut\n");
' "$directory" || failed=$?
kill -9 $process
wait $process || true
umount "$directory"
[ -z "${failed-}" ] || exit "$failed"
mount -o "loop,$options" "$image" "$directory"
cp "$directory"/tokens.db* "$copy" 2>/dev/null || true
umount "$directory"
