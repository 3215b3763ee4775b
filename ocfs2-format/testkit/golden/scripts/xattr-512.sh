# Extended attributes where inodes have no room for them, in buckets of eight blocks; a tree of runs with extent blocks.
volume 64M -M local -b 512 -C 4096 -J size=4M -L attributes
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/attributes.py" /mnt/a
SCRIPT
shows 'xattr /left' 'Depth: 1'
facts
