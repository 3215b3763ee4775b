# User and group quotas with limits and usage of some hundred ids all over the range.
volume 64M -M local -b 4096 -C 4096 -J size=4M --fs-features=usrquota,grpquota -L quota
guest <<'SCRIPT'
mount -t ocfs2 -o usrquota,grpquota /dev/ubda /mnt/a
python3 - <<'PYTHON'
from objects import *

for index in range(300):
    path = f"/mnt/a/file-{index}"
    write(path, text(index * 40, index))
    os.chown(path, index * 7919 % 1000 if index % 3 else index * 14_000_000, index % 40 * 100)
for id in [1000, 1001, 65_534, 4_000_000_000]:
    set_quota("/mnt/a", 0, id, space_soft=10 << 20, space_hard=20 << 20, inodes_soft=100, inodes_hard=200)
    set_quota("/mnt/a", 1, id, space_hard=1 << 30)
# An owner above the soft limits, so the grace time runs.
set_quota("/mnt/a", 0, 7, space_soft=8192, inodes_soft=1)
for index in range(4):
    path = f"/mnt/a/over-{index}"
    write(path, text(5000, index))
    os.chown(path, 7, 0)
for index in range(0, 300, 4):
    os.unlink(f"/mnt/a/file-{index}")
PYTHON
sync
python3 "$KIT/facts.py" --quota /mnt/a >"$OUT/quota"
SCRIPT
facts
