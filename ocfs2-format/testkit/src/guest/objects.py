"""Makes single objects of every kind on a mounted volume. For the scripts that populate volumes in the guest kernel."""

import contextlib
import ctypes
import errno
import fcntl
import os
import struct

FS_IOC_SETFLAGS = 0x40086602
FICLONE = 0x40049409
OCFS2_IOC_REFLINK = 0x40186F04
KEEP_SIZE, PUNCH_HOLE = 1, 2
IMMUTABLE, APPEND_ONLY, NO_DUMP, NO_ATIME, SYNC, DIR_SYNC = 0x10, 0x20, 0x40, 0x80, 0x08, 0x10000
Q_SETQUOTA = 0x800008

LIBC = ctypes.CDLL(None, use_errno=True)


def text(length, seed=0):
    """Content that compresses well and tells where it belongs: lines of 32 bytes with seed and offset."""
    lines = [b"%08x at %015x..... \n" % (seed & 0xFFFFFFFF, at) for at in range(0, length, 32)]
    return b"".join(line[-32:] for line in lines)[:length]


def write(path, data=b"", at=0, direct_sync=False):
    """Writes into a file, making it where it is missing."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | (os.O_DSYNC if direct_sync else 0), 0o644)
    try:
        while data:
            done = os.pwrite(fd, data, at)
            data, at = data[done:], at + done
    finally:
        os.close(fd)


def sync_file(path):
    """fsync: commits the journal, unlike sync(1) without emptying the truncate log."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def fallocate(path, mode, start, length):
    fd = os.open(path, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        if LIBC.fallocate(fd, mode, ctypes.c_long(start), ctypes.c_long(length)) != 0:
            raise os_error(path)
    finally:
        os.close(fd)


def preallocate(path, start, length, keep_size=False):
    """Allocates unwritten extents."""
    fallocate(path, KEEP_SIZE if keep_size else 0, start, length)


def punch(path, start, length):
    """Makes a hole."""
    fallocate(path, KEEP_SIZE | PUNCH_HOLE, start, length)


def reflink(source, target, preserve=True):
    """A copy that shares all extents and, when preserving, owner, mode, times and attributes."""
    old, new = ctypes.create_string_buffer(os.fsencode(source)), ctypes.create_string_buffer(os.fsencode(target))
    fd = os.open(source, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, OCFS2_IOC_REFLINK, struct.pack("=QQQ", ctypes.addressof(old), ctypes.addressof(new), preserve))
    finally:
        os.close(fd)


def clone(source, target):
    """A copy that shares all extents, as cp --reflink makes it."""
    old, new = os.open(source, os.O_RDONLY), os.open(target, os.O_WRONLY | os.O_CREAT, 0o644)
    try:
        fcntl.ioctl(new, FICLONE, old)
    except OSError:
        os.unlink(target)
        raise
    finally:
        os.close(old)
        os.close(new)


def set_flags(path, flags):
    """The attributes of chattr(1)."""
    fd = os.open(path, os.O_RDONLY)
    try:
        fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("=q", flags))
    finally:
        os.close(fd)


def special(path, kind, major=0, minor=0, mode=0o640):
    """A device, fifo or socket; kind is the letter of mknod(1), or s."""
    bits = {"c": 0o020000, "b": 0o060000, "p": 0o010000, "s": 0o140000}[kind]
    os.mknod(path, bits | mode, os.makedev(major, minor) if kind in "cb" else 0)


def set_acl(path, entries, default=False):
    """entries: (tag, permissions, id or None), with the tags u, U (a named user), g, G (a named group), m and o."""
    tags = {"u": 0x01, "U": 0x02, "g": 0x04, "G": 0x08, "m": 0x10, "o": 0x20}
    value = struct.pack("<I", 2)
    for tag, permissions, id in entries:
        value += struct.pack("<HHI", tags[tag], permissions, 0xFFFFFFFF if id is None else id)
    os.setxattr(path, b"system.posix_acl_default" if default else b"system.posix_acl_access", value, follow_symlinks=False)


def set_xattr(path, name, value):
    os.setxattr(path, name, value, follow_symlinks=False)


def set_quota(mount, kind, id, space_soft=0, space_hard=0, inodes_soft=0, inodes_hard=0):
    """Limits of a user (kind 0) or group (1), in bytes and inodes."""
    with open("/proc/mounts", "rb") as mounts:
        source = [line.split()[0] for line in mounts if line.split()[1] == os.fsencode(mount)][-1]
    limits = struct.pack("=QQQQQQQQI4x", space_hard >> 10, space_soft >> 10, 0, inodes_hard, inodes_soft, 0, 0, 0, 5)
    if LIBC.quotactl(Q_SETQUOTA << 8 | kind, source, id, limits) != 0:
        raise os_error(mount)


def os_error(path):
    code = ctypes.get_errno()
    return OSError(code, os.strerror(code), path)


@contextlib.contextmanager
def where_supported():
    """Passes over what the volume's features, or the size of its inodes, do not allow."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY, errno.EINVAL, errno.ENOSPC, errno.ENODATA):
            raise
