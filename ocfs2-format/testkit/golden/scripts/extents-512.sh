# Extent trees of depth 0 to 3, of written and unwritten extents in turn and of extents with holes between them.
volume 128M -M local -b 512 -C 4096 -J size=4M -L extents
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
from objects import *

def striped(path, count):
    """Every other cluster is written; most of them with zeros, to stay small."""
    preallocate(path, 0, count * 4096)
    for index in range(0, count, 2):
        write(path, text(50, index) if index % 100 == 0 else b"\0", at=index * 4096)

def holed(path, count):
    for index in range(count):
        write(path, text(50, index) if index % 50 == 0 else b"\0", at=index * 3 * 4096)

striped("/mnt/a/depth-0", 16)
striped("/mnt/a/depth-1", 300)
holed("/mnt/a/depth-1-with-holes", 300)
striped("/mnt/a/depth-2", 1500)
holed("/mnt/a/depth-2-with-holes", 1200)
striped("/mnt/a/depth-3", 15200)
preallocate("/mnt/a/beyond-the-end", 0, 40000, keep_size=True)
write("/mnt/a/beyond-the-end", b"short")
striped("/mnt/a/shrunk", 1200)
os.truncate("/mnt/a/shrunk", 20 * 4096 + 7)
PYTHON
SCRIPT
shows 'stat /depth-3' 'Tree Depth: 3'
facts
