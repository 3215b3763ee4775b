# Free space in small pieces, so groups of inodes are made of many of them, and so is the value of an attribute, with checks and small blocks.
volume 32M -M local -b 512 -C 4096 -J size=4M --fs-features=metaecc -L fragmented
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import errno
from objects import *

def fill(path, piece):
    """Takes all space in ever smaller pieces."""
    at = 0
    while piece >= 4096:
        try:
            preallocate(path, at, piece)
            at += piece
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            piece //= 2
    return at

size = fill("/mnt/a/filler", 1 << 22)
for at in range(0, size - 8 * 4096, 64 * 4096):
    punch("/mnt/a/filler", at, 32 * 4096)
sync_file("/mnt/a/filler")
os.mkdir("/mnt/a/files")
for index in range(2200):
    write(f"/mnt/a/files/{index}", text(index % 300, index))
for index in range(0, 2200, 7):
    os.unlink(f"/mnt/a/files/{index}")

# Nothing is left but pieces of four clusters.
fill("/mnt/a/rest", 1 << 22)
for at in range(32 * 4096, size // 2, 64 * 4096):
    punch("/mnt/a/filler", at, 4 * 4096)
sync_file("/mnt/a/filler")
for length in [5_000, 20_000, 40_000]:
    set_xattr("/mnt/a/files/1", "user.in-pieces", text(length, 1))
write("/mnt/a/files/data", text(200_000, 2))
PYTHON
SCRIPT
shows 'stat //inode_alloc:0000' 'Tree Depth: 0 +Count: [0-9]+ +Next Free Rec: ([2-9]|[1-9][0-9])'
shows 'xattr -v /files/1' 'Tree Depth: 1'
facts
