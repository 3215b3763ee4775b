# Power cut on a volume of the oldest feature level: old slot map with a slot in use, nothing sparse.
volume 32M -M local -b 2048 -C 8192 -J size=4M --fs-feature-level=max-compat -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 "$KIT/interrupted.py" /mnt/a
SCRIPT
shows slotmap '^[[:space:]]+0[[:space:]]+0$'
facts
