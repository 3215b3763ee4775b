# Power cut with a journal of 64-bit block numbers.
volume 32M -M local -b 4096 -C 4096 -J size=4M,block64 -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/interrupted.py" /mnt/a
SCRIPT
logs 'tags=64'
facts
