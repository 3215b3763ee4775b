# Power cut after a commit, with checks and small blocks: orphans, records in the truncate log, a local window.
volume 64M -M local -b 512 -C 4096 -J size=4M --fs-features=metaecc -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/interrupted.py" /mnt/a
SCRIPT
replayed
IMAGE=$WORK/replayed shows 'ls -l //orphan_dir:0000' '[0-9a-f]{16}'
IMAGE=$WORK/replayed shows 'stat //truncate_log:0000' 'Used: [1-9]'
facts
