"""What the kernel itself says of every object below a mount point, as JSON lines.

    facts.py MOUNT > FILE           one line for the volume, then one for each object
    facts.py --quota MOUNT > FILE   one line for each user and group with a quota record

Names and values that may be any bytes are hexadecimal. Children of a directory follow each other in the order in which
the kernel lists them. Mount with `ro,noatime`, or looking changes what is seen; quotas need a writable mount.
"""

import ctypes
import errno
import fcntl
import hashlib
import json
import os
import stat
import struct
import sys

KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "symlink",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
}
FS_IOC_GETFLAGS = 0x80086601
FS_IOC_FIEMAP = 0xC020660B
WHOLE_HASH_LIMIT = 8 << 20      # larger files are sparse: only their data is hashed
SHORT_VALUE = 1024              # longer attribute values are given by their hash
Q_GETNEXTQUOTA = 0x800009


def moment(ns):
    return [ns // 1_000_000_000, ns % 1_000_000_000]


def xattrs(path):
    found = []
    try:
        names = os.listxattr(path, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:     # the volume has no such feature
            return []
        raise
    for name in names:
        value = os.getxattr(path, name, follow_symlinks=False)
        entry = {"name": os.fsencode(name).hex(), "size": len(value)}
        if len(value) <= SHORT_VALUE:
            entry["value"] = value.hex()
        else:
            entry["sha256"] = hashlib.sha256(value).hexdigest()
        found.append(entry)
    return found


def data_ranges(fd, size):
    ranges, at = [], 0
    while at < size:
        try:
            start = os.lseek(fd, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                break
            raise
        at = os.lseek(fd, start, os.SEEK_HOLE)
        ranges.append([start, at])
    return ranges


def extents(fd):
    """[logical, physical, length, flags] of every extent, as FIEMAP gives them; None through FUSE, which has no such request."""
    found, start, room = [], 0, 512
    while True:
        head = struct.pack("=QQIIII", start, 0xFFFFFFFFFFFFFFFF - start, 0, 0, room, 0)
        answer = bytearray(head + bytes(56 * room))
        try:
            fcntl.ioctl(fd, FS_IOC_FIEMAP, answer)
        except OSError as error:
            if error.errno == errno.EOPNOTSUPP:
                return None
            raise
        mapped = struct.unpack_from("=I", answer, 20)[0]
        for index in range(mapped):
            logical, physical, length, _, _, flags = struct.unpack_from("=QQQQQI", answer, 32 + 56 * index)
            found.append([logical, physical, length, flags])
            start = logical + length
        if mapped == 0 or found[-1][3] & 1:
            return found


def content_hash(fd, size, ranges):
    """SHA-256 of the whole content, or of the data ranges one after another when the file is too large for that."""
    digest = hashlib.sha256()
    for start, end in [[0, size]] if size <= WHOLE_HASH_LIMIT else ranges:
        while start < end:
            piece = os.pread(fd, min(1 << 20, end - start), start)
            digest.update(piece)
            start += len(piece)
            if not piece:
                raise OSError(errno.EIO, "file ends early")
    return digest.hexdigest()


def describe(root, path):
    full = os.path.join(root, path) if path else root
    info = os.lstat(full)
    kind = KINDS[stat.S_IFMT(info.st_mode)]
    fact = {
        "path": path.hex(),
        "kind": kind,
        "ino": info.st_ino,
        "mode": stat.S_IMODE(info.st_mode),
        "uid": info.st_uid,
        "gid": info.st_gid,
        "nlink": info.st_nlink,
        "size": info.st_size,
        "blocks": info.st_blocks,
        "atime": moment(info.st_atime_ns),
        "mtime": moment(info.st_mtime_ns),
        "ctime": moment(info.st_ctime_ns),
    }
    if kind in ("char", "block"):
        fact["rdev"] = [os.major(info.st_rdev), os.minor(info.st_rdev)]
    if kind == "symlink":
        fact["target"] = os.readlink(full).hex()
    names = xattrs(full)
    if names:
        fact["xattrs"] = names
    if kind in ("file", "dir"):
        fd = os.open(full, os.O_RDONLY | os.O_NOATIME)
        try:
            flags = struct.unpack("=i", fcntl.ioctl(fd, FS_IOC_GETFLAGS, bytes(8))[:4])[0]
            if flags:
                fact["flags"] = flags
            if kind == "file":
                ranges = data_ranges(fd, info.st_size)
                fact["data"] = ranges
                fact["sha256" if info.st_size <= WHOLE_HASH_LIMIT else "data_sha256"] = content_hash(fd, info.st_size, ranges)
                mapped = extents(fd)
                if mapped is not None:
                    fact["extents"] = mapped
        finally:
            os.close(fd)
    return kind, fact


def tree(root, out):
    fs = os.statvfs(root)
    volume = {key: getattr(fs, "f_" + key) for key in ("bsize", "frsize", "blocks", "bfree", "files", "ffree", "namemax")}
    print(json.dumps({"volume": volume}), file=out)
    pending = [b""]
    kind, fact = describe(root, b"")
    print(json.dumps(fact, separators=(",", ":")), file=out)
    while pending:
        dir = pending.pop(0)
        with os.scandir(os.path.join(root, dir) if dir else root) as listing:
            names = [entry.name for entry in listing]
        for name in names:
            path = os.path.join(dir, name) if dir else name
            kind, fact = describe(root, path)
            print(json.dumps(fact, separators=(",", ":")), file=out)
            if kind == "dir":
                pending.append(path)


def mount_source(root):
    with open("/proc/mounts", "rb") as mounts:
        return [line.split()[0] for line in mounts if line.split()[1] == root][-1]


def quotas(root, out):
    quotactl = ctypes.CDLL(None, use_errno=True).quotactl
    source = mount_source(root)
    for number, kind in enumerate(("user", "group")):
        wanted = 0
        while True:
            answer = ctypes.create_string_buffer(72)
            if quotactl(Q_GETNEXTQUOTA << 8 | number, source, wanted, answer) != 0:
                code = ctypes.get_errno()
                if code in (errno.ENOENT, errno.ESRCH):     # no more; quota not enabled
                    break
                raise OSError(code, os.strerror(code))
            bhard, bsoft, space, ihard, isoft, inodes, btime, itime, _, id = struct.unpack("=QQQQQQQQII", answer.raw)
            record = {"kind": kind, "id": id, "space": space, "inodes": inodes, "space_hard": bhard << 10,
                      "space_soft": bsoft << 10, "inodes_hard": ihard, "inodes_soft": isoft, "space_expires": btime,
                      "inodes_expire": itime}
            print(json.dumps({"quota": record}), file=out)
            if id == 0xFFFFFFFF:
                break
            wanted = id + 1


if __name__ == "__main__":
    if sys.argv[1] == "--quota":
        quotas(os.fsencode(sys.argv[2]), sys.stdout)
    else:
        tree(os.fsencode(sys.argv[1]), sys.stdout)
