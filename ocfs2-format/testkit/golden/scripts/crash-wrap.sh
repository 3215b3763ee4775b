# Power cut while files are made and removed and each change is synced: many transactions in a journal that has wrapped around,
# the last one perhaps without its commit block; with checks.
volume 64M -M local -b 1024 -C 4096 -J size=4M --fs-features=metaecc -L crash
guest --until READY --after 40 <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/busy.py" /mnt/a 420
SCRIPT
logs 'wrapped=1'
facts
