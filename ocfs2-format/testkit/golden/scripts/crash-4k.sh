# Power cut after a commit: unlinked files and a directory that were still open, records in the truncate log, space taken from
# the local window; all of it only in the journal.
volume 64M -M local -b 4096 -C 4096 -J size=4M -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/interrupted.py" /mnt/a
SCRIPT
replayed
IMAGE=$WORK/replayed shows 'ls -l //orphan_dir:0000' '[0-9a-f]{16}'
IMAGE=$WORK/replayed shows 'stat //truncate_log:0000' 'Used: [1-9]'
IMAGE=$WORK/replayed shows 'stat //local_alloc:0000' 'Bitmap Total: [1-9]'
facts
