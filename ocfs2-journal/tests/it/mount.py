"""Mounts every volume of /dev/ubda, SIZE bytes each, and says how that went: one line for each, 0 or the errno."""
import ctypes
import errno
import fcntl
import os
import struct
import sys

LOOP_CTL_GET_FREE, LOOP_CONFIGURE, LOOP_CLR_FD = 0x4C82, 0x4C0A, 0x4C01

libc = ctypes.CDLL(None, use_errno=True)


def call(function, *arguments):
    return 0 if function(*arguments) == 0 else ctypes.get_errno()


size, count = map(int, sys.argv[1:])
disk = os.open("/dev/ubda", os.O_RDWR)
control = os.open("/dev/loop-control", os.O_RDWR)
for n in range(count):
    path = b"/dev/loop%d" % fcntl.ioctl(control, LOOP_CTL_GET_FREE)
    loop = os.open(path, os.O_RDWR)
    info = struct.pack("=5Q4I64s64s32s2Q", 0, 0, 0, n * size, size, 0, 0, 0, 0, b"", b"", b"", 0, 0)
    fcntl.ioctl(loop, LOOP_CONFIGURE, struct.pack("=II", disk, 512) + info + bytes(64))
    result = call(libc.mount, path, b"/mnt/a", b"ocfs2", 0, b"heartbeat=none")
    if result == 0:
        call(libc.umount, b"/mnt/a")
    os.fsync(loop)
    fcntl.ioctl(loop, LOOP_CLR_FD)
    os.close(loop)
    print(n, result, errno.errorcode.get(result, ""), flush=True)
os.fsync(disk)
