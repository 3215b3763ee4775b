# Commands for the scripts that make golden images. $IMAGE is the image to make, $WORK the current, temporary directory.

# volume SIZE OPTION...: makes the volume.
volume() {
    truncate -s "$1" "$IMAGE"
    shift
    printf '%s ' "$@" >mkfs.options
    mkfs.ocfs2 -x "$@" "$IMAGE" >mkfs.out 2>mkfs.err || { cat mkfs.out mkfs.err >&2; return 1; }
}

# guest [--until TEXT] [--after MS] [DISK...] <<'SCRIPT': runs a script in the guest kernel with $IMAGE as /dev/ubda. With
# --until the power is cut MS milliseconds after the script has said TEXT.
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
mount -t ocfs2 -o ro,noatime /dev/ubda /mnt/a
python3 "\$KIT/facts.py" /mnt/a >"\$OUT/tree"
SCRIPT
    cat out/quota out/tree >facts.jsonl 2>/dev/null || cat out/tree >facts.jsonl
    rm -f copy
}
