# Keeps one cluster: does what it is told, a word a line, and tells how that ended. When nobody is
# there to tell it anything any more, it stops the server and removes the directory. Because it alone
# makes, starts and stops things, that never meets one halfway. First it tells the directory.
#
#   sh -c … keeper BASE BINARIES [ARGUMENT OF initdb OR pg_basebackup…]
trap '' PIPE
directory=$(mktemp -d "$1/tokenkeep-XXXXXX") || exit
binaries=$2
shift 2
echo "$directory"

control() {
    "$binaries/pg_ctl" -D "$directory/data" -l "$directory/log" -w -t 60 "$@" \
        >>"$directory/log" 2>&1 </dev/null
}

while read -r action; do
    case $action in
    init)
        "$binaries/initdb" -D "$directory/data" "$@" >>"$directory/log" 2>&1 </dev/null
        ;;
    copy)
        "$binaries/pg_basebackup" -D "$directory/data" "$@" >>"$directory/log" 2>&1 </dev/null
        ;;
    promote) control promote ;;
    start) control start ;;
    stop) control -m fast stop ;;
    crash) control -m immediate stop ;;
    esac
    echo $?
done
control -m immediate stop
rm -rf "$directory"
