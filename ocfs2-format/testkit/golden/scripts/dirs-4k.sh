# Directories of every form: inline, blocks with the index in its root, one leaf, many leaves; emptied and partly emptied ones;
# names of 1 and of 255 bytes, and of bytes above 0x7F.
volume 32M -M local -b 4096 -C 4096 -J size=4M -L directories
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import os
from objects import *

write("/mnt/a/one", b"the only file\n")

def fill(dir, count, pattern="name-{}"):
    os.mkdir(dir)
    for index in range(count):
        os.link("/mnt/a/one", os.fsencode(dir) + b"/" + pattern.format(index).encode())

fill("/mnt/a/inline", 20)
fill("/mnt/a/block", 200)
fill("/mnt/a/leaf", 250)
fill("/mnt/a/leaves", 2000, "a longer name for the entry number {:05}")
fill("/mnt/a/bytes", 400, "größe-日本-{}")
fill("/mnt/a/long", 60, "{:0255}")
fill("/mnt/a/short", 0)
for index in range(26):
    os.mkdir("/mnt/a/short/" + chr(ord("a") + index))
os.link("/mnt/a/one", b"/mnt/a/bytes/\xff\xfe\x80 not UTF-8 \xc3")

fill("/mnt/a/holes", 800)
for index in range(0, 800, 3):
    os.unlink(f"/mnt/a/holes/name-{index}")
fill("/mnt/a/emptied", 700)
for index in range(700):
    os.unlink(f"/mnt/a/emptied/name-{index}")
PYTHON
SCRIPT
shows 'stat /inline' 'InlineData'
shows 'dx_dump /block' 'Flags: \(0x1\)'
shows 'dx_dump /leaf' 'Clusters: 1 '
shows 'dx_dump /leaves' 'Clusters: [1-9][0-9] '
facts
