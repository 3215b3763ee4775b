# Power cut with user and group quotas: local quota files that are not clean, changes not yet in the global ones.
volume 48M -M local -b 4096 -C 4096 -J size=4M --fs-features=usrquota,grpquota,metaecc -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 -o usrquota,grpquota /dev/ubda /mnt/a
python3 - <<'PYTHON'
import time
from objects import *

for index in range(40):
    path = f"/mnt/a/file-{index}"
    write(path, text(index * 400, index))
    os.chown(path, index % 9 * 1000, index % 4)
os.sync()
for index in range(0, 40, 3):
    os.chown(f"/mnt/a/file-{index}", 77, 8)
    write(f"/mnt/a/file-{index}", text(30_000, index))
sync_file("/mnt/a/file-0")
print("READY", flush=True)
time.sleep(600)
PYTHON
SCRIPT
facts
