# Four slots used one after another: inodes, extent blocks and indexes come from the allocators of all of them.
volume 96M -M local -b 2048 -C 4096 -N 4 -J size=4M --fs-features=metaecc -L slots
guest <<'SCRIPT'
for slot in 0 1 2 3; do
    mount -t ocfs2 -o preferred_slot=$slot /dev/ubda /mnt/a
    python3 - $slot <<'PYTHON'
import sys
from objects import *

slot = int(sys.argv[1])
os.mkdir(f"/mnt/a/dir-{slot}")
for index in range(80):
    write(f"/mnt/a/dir-{slot}/a file made in this slot, number {index}", text(index * 100, slot))
    set_xattr(f"/mnt/a/dir-{slot}/a file made in this slot, number {index}", "user.slot", text(400, slot))
for index in range(0, 300):
    write(f"/mnt/a/holed-{slot}", text(10, index), at=index * 8192)
# Files of the slots before.
for before in range(slot):
    for index in range(slot, 80, 9):
        os.unlink(f"/mnt/a/dir-{before}/a file made in this slot, number {index}")
    reflink(f"/mnt/a/holed-{before}", f"/mnt/a/holed-{before}-copy-{slot}")
PYTHON
    umount /mnt/a
done
SCRIPT
for slot in 0 1 2 3; do shows "stat //inode_alloc:000$slot" 'Bitmap Total: [1-9]'; done
facts
