# Commands for the scripts that make golden images. $IMAGE is the image to make, $WORK the current, temporary directory.

# volume SIZE OPTION...: makes the volume.
volume() {
    truncate -s "$1" "$IMAGE"
    shift
    printf '%s ' "$@" >mkfs.options
    mkfs.ocfs2 -x "$@" "$IMAGE" >mkfs.out 2>mkfs.err || { cat mkfs.out mkfs.err >&2; return 1; }
}

# guest [--until TEXT] [--after MS] [--link LOCAL:REMOTE] [DISK...] <<'SCRIPT': runs a script in the guest kernel with $IMAGE as
# /dev/ubda. With --until the power is cut MS milliseconds after the script has said TEXT. A link is a wire to the guest with
# the two ports in the other order.
guest() {
    local options=()
    while [ $# -gt 0 ] && [[ $1 = --* ]]; do options+=("$1" "$2"); shift 2; done
    { echo 'set -e; export PYTHONPATH=$KIT'; cat; } |
        "$MAKE_GOLDEN" guest ${options[@]+"${options[@]}"} "$IMAGE" "$@"
}

# populate SEED COUNT: objects of all kinds, as the live tests make them.
populate() {
    guest <<SCRIPT
mount -t ocfs2 /dev/ubda /mnt/a
python3 "\$KIT/populate.py" /mnt/a $1 $2
SCRIPT
}

# facts [PREPARATION]: asks the kernel for the facts, from a copy of the image that it may replay and recover. A volume of
# a cluster needs a preparation, run in the guest before the mount.
facts() {
    cp --sparse=always "$IMAGE" copy
    IMAGE=$WORK/copy guest <<SCRIPT
${1:-:}
# The mount that replays a journal has read the root directory's inode before it.
mount -t ocfs2 -o ro,noatime /dev/ubda /mnt/a && umount /mnt/a
mount -t ocfs2 -o ro,noatime /dev/ubda /mnt/a
python3 "\$KIT/facts.py" /mnt/a >"\$OUT/tree"
SCRIPT
    cat out/quota out/tree >facts.jsonl 2>/dev/null || cat out/tree >facts.jsonl
    rm -f copy
}

# shows COMMAND PATTERN: fails when what debugfs.ocfs2 prints for the command does not match the extended regular expression.
# An image whose script has not provoked what it is for must not be recorded.
shows() {
    debugfs.ocfs2 -R "$1" "$IMAGE" >shown 2>&1
    grep -Eq -- "$2" shown || { echo "debugfs.ocfs2 '$1' does not show '$2':"; head -100 shown; return 1; } >&2
}

# replayed: a copy of the image, in $WORK/replayed, after nothing but the replay of its journals. The first run of
# fsck.ocfs2 on a dirty volume without a cluster replays and then gives up.
replayed() {
    cp --sparse=always "$IMAGE" "$WORK/replayed"
    fsck.ocfs2 -y "$WORK/replayed" >fsck.out 2>&1 || grep -q 'journal replayed successfully' fsck.out || { cat fsck.out >&2; return 1; }
}

# logs PATTERN [SLOT]: fails when what journal.py says of the journal of a slot does not match the extended regular expression.
logs() {
    debugfs.ocfs2 -R "dump //journal:000${2:-0} $WORK/journal" "$IMAGE" 2>/dev/null
    python3 "$(dirname "$PRELUDE")/journal.py" journal | tee shown
    grep -Eq -- "$1" shown || { echo "the journal does not show '$1'" >&2; return 1; }
}
