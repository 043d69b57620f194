# Unmounts, for the scripts beside this one. What was killed may take a moment to let go.
unmount() {
    tries=0
    until umount "$1"; do
        tries=$((tries + 1))
        [ "$tries" -lt 500 ] || return 1
        sleep 0.01
    done
}
