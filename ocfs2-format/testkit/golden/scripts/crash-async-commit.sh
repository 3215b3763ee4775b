# Power cut on a mount with journal_async_commit, which gives the journal two features ocfs2-tools does not know: commit blocks
# written without waiting, and a checksum over each transaction.
volume 32M -M local -b 1024 -C 4096 -J size=4M -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 -o journal_async_commit /dev/ubda /mnt/a
python3 "$KIT/busy.py" /mnt/a 330
SCRIPT
logs 'incompat=0x4 compat=0x1'
facts
