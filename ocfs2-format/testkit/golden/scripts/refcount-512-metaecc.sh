# Shared files with checks in small blocks: a tree with so many leaves that it has extent blocks.
volume 64M -M local -b 512 -C 4096 -J size=4M --fs-features=metaecc -L shared
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/sharing.py" /mnt/a
SCRIPT
shows 'refcount -e /comb' 'Tree Depth: 1'
facts
