#!/bin/sh
# Cuts the power of a file system while a server writes to it, and a program to the server:
#
#     cut_postgres.sh image directory options seconds program sockets account binaries
#
# Mounts the image, makes a cluster there, starts the server and the program, and cuts after so many
# seconds (cut.pl). Then mounts it again, as after a power cut, starts the server, says "back", and ends
# when it is told a line. Runs in namespaces of mounts and processes of its own. Exits with 77 where the
# machine cannot do that.
set -eu
image=$1 directory=$2 options=$3 seconds=$4 program=$5 sockets=$6 account=$7 binaries=$8
. "$(dirname "$0")/unmount.sh"

as_server() { setpriv --reuid="$account" --regid="$account" --clear-groups "$@" >&2; }
server() { as_server "$binaries/pg_ctl" -D "$directory/data" -l "$sockets/log" -w -t 60 "$@"; }

mount -o "loop,$options" "$image" "$directory" || exit 77
mkdir "$directory/data"
chown "$account" "$directory/data" "$sockets"
# What is made here is flushed below, all at once.
as_server "$binaries/initdb" -D "$directory/data" --no-sync -U postgres -A trust -E UTF8 --locale=C \
    --wal-segsize=1
{
    echo "listen_addresses = ''"
    echo "unix_socket_directories = '$sockets'"
} >>"$directory/data/postgresql.conf"
sync -f "$directory"
server start
"$program" --exact child::child_process --nocapture 2>/dev/null &
sleep "$seconds"
# Others on this machine must not make it long.
nice -n -20 perl "$(dirname "$0")/cut.pl" "$directory" || failed=$?
# This is the first process here: all others.
kill -9 -1
unmount "$directory"
[ -z "${failed-}" ] || exit "$failed"
mount -o "loop,$options" "$image" "$directory"
server start
echo back
read -r _
server -m immediate stop
unmount "$directory"
