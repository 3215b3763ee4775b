"""Makes files that share extents in every way, below the given directory."""

import os
import sys

from objects import *

ROOT = sys.argv[1]
CLUSTER = 4096


def path(name):
    return os.path.join(ROOT, name)


# A file, whole copies of it, and copies that went their own way.
write(path("base"), text(1_200_000, 1))
reflink(path("base"), path("whole-copy"))
clone(path("base"), path("clone"))
reflink(path("base"), path("overwritten"))
write(path("overwritten"), text(5000, 2), at=600_000)
reflink(path("base"), path("appended"))
write(path("appended"), text(5000, 3), at=1_200_000)
reflink(path("base"), path("cut"))
os.truncate(path("cut"), 100_001)
reflink(path("base"), path("punched"))
punch(path("punched"), 40 * CLUSTER, 100 * CLUSTER)
punch(path("punched"), 200 * CLUSTER + 100, 5000)

# The last one keeps the flag of a shared extent, with a count of one.
write(path("gone"), text(50_000, 4))
reflink(path("gone"), path("last-owner"))
os.unlink(path("gone"))

# Copies of copies.
write(path("generation-0"), text(100_000, 5))
for generation in range(1, 8):
    reflink(path(f"generation-{generation - 1}"), path(f"generation-{generation}"))
    write(path(f"generation-{generation}"), text(CLUSTER, 5 + generation), at=generation * CLUSTER)

preallocate(path("unwritten"), 0, 60 * CLUSTER)
write(path("unwritten"), text(3 * CLUSTER, 20), at=10 * CLUSTER)
reflink(path("unwritten"), path("unwritten-copy"))
write(path("unwritten-copy"), text(CLUSTER, 21), at=30 * CLUSTER)

write(path("inline"), b"little")
reflink(path("inline"), path("inline-copy"))
os.symlink("target", path("symlink"))

write(path("attributes"), text(10_000, 30))
for length in [10, 100, 5000, 20_000]:
    set_xattr(path("attributes"), f"user.of-{length}", text(length, length))
for index in range(120):
    set_xattr(path("attributes"), f"user.number-{index}", text(60 + index, index))
reflink(path("attributes"), path("attributes-copy"))
set_xattr(path("attributes-copy"), "user.of-5000", text(5000, 31))
os.removexattr(path("attributes-copy"), "user.of-20000")
reflink(path("attributes"), path("attributes-not-kept"), preserve=False)

# Every other cluster of the copy is a hole, so counts alternate and no two records merge. The content is mostly zeros.
preallocate(path("comb"), 0, 1000 * CLUSTER)
for index in range(1000):
    write(path("comb"), text(30, index) if index % 50 == 0 else b"\0", at=index * CLUSTER)
reflink(path("comb"), path("comb-copy"))
for index in range(0, 1000, 2):
    punch(path("comb-copy"), index * CLUSTER, CLUSTER)
