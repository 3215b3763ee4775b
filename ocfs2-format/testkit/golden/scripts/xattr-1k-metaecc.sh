# Extended attributes in every place, with checks, in buckets of four blocks, four of them in a cluster.
volume 64M -M local -b 1024 -C 16K -J size=4M --fs-features=metaecc -L attributes
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/attributes.py" /mnt/a
SCRIPT
facts
