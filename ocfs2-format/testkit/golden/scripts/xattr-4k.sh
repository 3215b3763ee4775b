# Extended attributes in every place: in the inode, in a block, in buckets of one and of several runs, values outside; all
# namespaces, on all kinds of objects; some removed again.
volume 64M -M local -b 4096 -C 4096 -J size=4M -L attributes
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/attributes.py" /mnt/a
SCRIPT
facts
