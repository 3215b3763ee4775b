"""Leaves a mounted volume in the middle of everything, says READY, and waits for the power to be cut."""

import os
import sys
import time

from objects import *

ROOT = sys.argv[1]


def path(name):
    return os.path.join(ROOT, name)


os.mkdir(path("dir"))
for index in range(60):
    write(path(f"dir/file-{index}"), text(index * 333, index))
for index in range(40):
    write(path("fragmented"), text(4096, 1), at=index * 12288)
    write(path("neighbour"), text(4096, 2), at=index * 4096)
write(path("large"), text(400_000, 3))
with where_supported():
    reflink(path("large"), path("large-copy"))
os.sync()

# Orphans: what is removed while it is open stays until it is closed.
held = []
for index in range(5):
    name = path(f"open-{index}")
    write(name, text(index * 5000, 4))
    with where_supported():
        set_xattr(name, "user.large", text(3000, index))
    held.append(os.open(name, os.O_RDWR))
    os.unlink(name)
os.mkdir(path("open-dir"))
held.append(os.open(path("open-dir"), os.O_RDONLY))
os.rmdir(path("open-dir"))
os.pwrite(held[1], b"written after its end", 100_000)

# Freed space goes to the truncate log, which is emptied two seconds later.
os.unlink(path("fragmented"))
os.truncate(path("large"), 100_000)
for index in range(0, 60, 3):
    os.unlink(path(f"dir/file-{index}"))
os.rename(path("dir/file-1"), path("moved"))
os.symlink("target", path("symlink"))
write(path("last"), b"committed\n")
sync_file(path("last"))
print("READY", flush=True)
time.sleep(600)
