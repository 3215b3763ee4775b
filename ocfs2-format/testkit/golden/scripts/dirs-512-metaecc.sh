# A directory with thousands of names whose index is a tree with extent blocks, with checks; small blocks in larger clusters.
volume 48M -M local -b 512 -C 4096 -J size=4M --fs-features=metaecc -L directories
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import os
from objects import *

write("/mnt/a/one", b"the only file\n")
os.mkdir("/mnt/a/deep")
for index in range(4200):
    os.link("/mnt/a/one", f"/mnt/a/deep/{index}-й" if index % 5 == 0 else f"/mnt/a/deep/{index}")
os.mkdir("/mnt/a/root")
for index in range(12):
    os.link("/mnt/a/one", f"/mnt/a/root/name {index}")
PYTHON
SCRIPT
shows 'dx_dump /deep' 'Last Extblk: [1-9]'
facts
