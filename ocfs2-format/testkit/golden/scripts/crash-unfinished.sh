# Power cut in the middle of a commit: the last transaction of the journal has blocks but no commit block, and must not be
# replayed.
for attempt in {1..30}; do
    rm -f "$IMAGE"
    volume 48M -M local -b 1024 -C 4096 -J size=4M -L crash
    guest --until READY --after $((attempt * 7)) <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
from objects import *

for round in range(100):
    for index in range(150):
        write(f"/mnt/a/{round}-{index}", b"round %d" % round)
        if round > 1:
            os.unlink(f"/mnt/a/{round - 2}-{index}")
    sync_file("/mnt/a")
    if round == 3:
        print("READY", flush=True)
PYTHON
SCRIPT
    if logs 'unfinished=1'; then break; fi
done
logs 'unfinished=1'
facts
