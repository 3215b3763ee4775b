"""Makes extended attributes in every place the format has for them, below the given directory."""

import os
import sys

from objects import *

ROOT = sys.argv[1]


def made(name):
    path = os.path.join(ROOT, name)
    write(path, text(100))
    return path


def fill(path, count, length=40, prefix="user.attribute"):
    for index in range(count):
        set_xattr(path, f"{prefix}-{index}", text(length + index % 30, index))


path = made("in-the-inode")
set_xattr(path, "user.a", b"")
set_xattr(path, "user.b", b"value")
set_xattr(path, "trusted.größe", b"\xff\0\x80")

# Too much for the inode's 256 bytes, which keeps what it has.
fill(made("in-a-block"), 8)
fill(made("in-one-bucket"), 60)
fill(made("in-many-buckets"), 300)
fill(made("in-many-runs"), 1100)

# Two files growing in turn: neither gets adjacent clusters, so runs stay short and the tree becomes deep.
left, right = made("left"), made("right")
for index in range(900):
    set_xattr(left, f"user.left-{index}", text(75, index))
    set_xattr(right, f"user.right-{index}", text(75, index))

path = made("values")
for length in [0, 1, 79, 80, 81, 255, 4095, 4096, 4097, 20_000, 65_536]:
    set_xattr(path, f"user.of {length} bytes", text(length, length))
set_xattr(path, "user." + "n" * 250, b"a name as long as it may be")

path = made("replaced")
set_xattr(path, "user.shorter", text(5000, 1))
set_xattr(path, "user.shorter", b"short")
set_xattr(path, "user.longer", b"short")
set_xattr(path, "user.longer", text(5000, 2))
set_xattr(path, "user.rewritten", text(5000, 3))
set_xattr(path, "user.rewritten", text(4000, 4))

path = made("removed")
fill(path, 200)
for index in range(0, 200, 2):
    os.removexattr(path, f"user.attribute-{index}")
path = made("all-removed")
fill(path, 100)
for index in range(100):
    os.removexattr(path, f"user.attribute-{index}")

path = os.path.join(ROOT, "directory")
os.mkdir(path)
fill(path, 20)
set_acl(path, [("u", 7, None), ("U", 5, 1000), ("g", 5, None), ("m", 7, None), ("o", 1, None)])
set_acl(path, [("u", 7, None), *[("U", 5, 1000 + n) for n in range(20)], ("g", 5, None), ("m", 5, None), ("o", 0, None)], default=True)
write(os.path.join(path, "heir"), b"has the default list of its directory")
os.mkdir(os.path.join(path, "heir-directory"))

# Only files and directories may have user attributes.
os.symlink("target", os.path.join(ROOT, "symlink"))
os.symlink("long/" * 160, os.path.join(ROOT, "long-symlink"))
for kind in "cbps":
    special(os.path.join(ROOT, "special-" + kind), kind, 1, 3)
for name in ["symlink", "long-symlink", "special-c", "special-b", "special-p", "special-s"]:
    path = os.path.join(ROOT, name)
    set_xattr(path, "trusted.short", b"value")
    fill(path, 5, prefix="trusted.attribute")
set_xattr(made("capability"), "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))
set_xattr(made("security"), "security.label", b"any_text:of:a_module\0")
