# Shared files: whole and partly overwritten copies, shared unwritten extents and attributes, a tree in one block and one with
# several leaves.
volume 64M -M local -b 4096 -C 4096 -J size=16M -L shared
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/sharing.py" /mnt/a
SCRIPT
shows 'refcount -e /comb' 'Flags: [^ ]*.*Tree'
facts
