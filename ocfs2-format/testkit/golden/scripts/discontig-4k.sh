# Free space in small pieces, so groups of inodes are made of many of them, and so is the value of an attribute.
volume 48M -M local -b 4096 -C 4096 -J size=4M -L fragmented
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
for at in range(0, size - 8 * 4096, 16 * 4096):
    punch("/mnt/a/filler", at, 8 * 4096)
sync_file("/mnt/a/filler")
os.mkdir("/mnt/a/files")
for index in range(1500):
    write(f"/mnt/a/files/{index}", text(index % 300, index))
for index in range(0, 1500, 7):
    os.unlink(f"/mnt/a/files/{index}")

# Nothing is left but pieces of four clusters.
fill("/mnt/a/rest", 1 << 22)
for at in range(8 * 4096, size // 2, 16 * 4096):
    punch("/mnt/a/filler", at, 4 * 4096)
sync_file("/mnt/a/filler")
set_xattr("/mnt/a/files/1", "user.in-pieces", text(65_536, 1))
write("/mnt/a/files/data", text(200_000, 2))
PYTHON
SCRIPT
shows 'stat //inode_alloc:0000' 'Tree Depth: 0 +Count: [0-9]+ +Next Free Rec: ([2-9]|[1-9][0-9])'
shows 'xattr -v /files/1' 'Tree Depth: 1'
facts
