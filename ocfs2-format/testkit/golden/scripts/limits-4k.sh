# Values at their limits: the largest file offset, owners, device numbers, times before 1970 and after 2106, every attribute of
# chattr(1), every mode bit, deep paths, links of the longest fast and the shortest slow kind.
volume 48M -M local -b 4096 -C 4096 -J size=4M -L "$(printf 'L%.0s' {1..63})"
guest <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import errno
from objects import *

# The largest offset the volume allows.
low, high = 0, 1 << 63
write("/mnt/a/largest")
while low + 1 < high:
    middle = (low + high) // 2
    try:
        os.truncate("/mnt/a/largest", middle)
        low = middle
    except OSError:
        high = middle
write("/mnt/a/largest", b"end", at=low - 3)
write("/mnt/a/largest", b"start")
write("/mnt/a/middle", b"x", at=1 << 40)

for index, (uid, gid) in enumerate([(1, 0xFFFE), (0xFFFF, 0x10000), (0x7FFFFFFF, 0x80000000), (0xFFFFFFFE, 0xFFFFFFFE)]):
    write(f"/mnt/a/owner-{index}")
    os.chown(f"/mnt/a/owner-{index}", uid, gid)
for index, (major, minor) in enumerate([(0, 0), (1, 255), (255, 256), (4095, 1048575), (259, 65536)]):
    special(f"/mnt/a/char-{index}", "c", major, minor)
    special(f"/mnt/a/block-{index}", "b", major, minor)
for bit in range(12):
    write(f"/mnt/a/mode-{bit}")
    os.chmod(f"/mnt/a/mode-{bit}", 1 << bit)
os.mkdir("/mnt/a/mode-all")
os.chmod("/mnt/a/mode-all", 0o7777)
for seconds in [-(1 << 40), -(1 << 31) - 1, -1, 0, 1, (1 << 31) - 1, 1 << 31, 1 << 32, 1 << 34, 1 << 40]:
    write(f"/mnt/a/time-{seconds}")
    os.utime(f"/mnt/a/time-{seconds}", ns=(seconds * 10**9 + 999_999_999, seconds * 10**9 + 1))

for length in [1, 59, 60, 3902, 3903, 3904, 3905, 4094]:
    os.symlink(text(length).replace(b" ", b"/"), f"/mnt/a/link-{length}")
path = "/mnt/a/deep"
for level in range(80):
    os.mkdir(path)
    path += "/" + "d" * (level % 40 + 1)
for length in range(1, 256, 11):
    write("/mnt/a/" + "n" * length)
for index in range(1000):
    os.makedirs("/mnt/a/linked", exist_ok=True)
    os.link("/mnt/a/owner-0", f"/mnt/a/linked/{index}")
for length in [3639, 3640, 3641, 3895, 3896, 3897, 4095, 4096, 4097]:
    write(f"/mnt/a/length-{length}", text(length))

for bit in [0x8, 0x10, 0x20, 0x40, 0x80, 0x10000, 0x1, 0x2, 0x4, 0x400, 0x8000, 0x4000, 0x20000]:
    for make in (write, os.mkdir):
        name = f"/mnt/a/attribute-{make.__name__}-{bit:x}"
        make(name)
        with where_supported():
            set_flags(name, bit)
PYTHON
SCRIPT
facts
