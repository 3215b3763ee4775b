"""Fills a directory of a mounted volume with objects of all kinds, always the same ones for the same seed.

    populate.py DIR SEED COUNT

COUNT is the number of objects made; afterwards about one in eight is changed, renamed or removed again, so that the
volume also shows the traces of use. The same script serves live tests and golden images.
"""

import os
import random
import sys

from objects import *

WORDS = ["report", "данные", "naïve", "日本語", "a b", "-dash", "name.ext", "…", "ÄÖÜ", "emoji-🦀", "quote'\"", "tab\there"]
DAY = 86_400_000_000_000


class Population:
    def __init__(self, root, seed):
        self.random = random.Random(seed)
        self.root = os.fsencode(root)
        self.dirs, self.files, self.others = [self.root], [], []
        self.serial = 0
        # Without holes every byte up to the end of a file takes space.
        probe = os.path.join(self.root, b".probe")
        write(probe)
        os.truncate(probe, 1 << 20)
        self.reach = 1 << 24 if os.stat(probe).st_blocks == 0 else 1 << 16
        os.unlink(probe)

    def name(self):
        """A new path: mostly short names, some as long as they may be, some that are not UTF-8."""
        self.serial += 1
        draw = self.random.random()
        if draw < 0.70:
            name = b"%s-%d" % (self.random.choice(["f", "file", "x"]).encode(), self.serial)
        elif draw < 0.90:
            name = f"{self.random.choice(WORDS)}-{self.serial}".encode()
        elif draw < 0.96:
            name = b"%d-" % self.serial
            name += bytes(self.random.choice(b"abcdefghijklmnopqrstuvwxyz") for _ in range(255 - len(name)))
        else:
            name = b"\xff\xfe\x80%d\xc3" % self.serial
        # Half of everything goes to three directories, so that these grow an index of several levels.
        dirs = self.dirs[:3] if self.random.random() < 0.5 else self.dirs
        return os.path.join(self.random.choice(dirs), name)

    def content(self):
        draw = self.random.random()
        if draw < 0.10:
            return b""
        if draw < 0.55:
            return text(self.random.randrange(1, 400), self.serial)
        if draw < 0.90:
            return text(self.random.randrange(1, 20_000), self.serial)
        return text(self.random.randrange(1, 300_000), self.serial)

    def file(self):
        path = self.name()
        write(path, self.content())
        self.files.append(path)
        return path

    def sparse(self):
        """Pieces far apart, a tail without data, now and then preallocated space and punched holes."""
        path, random, reach = self.name(), self.random, self.reach
        for _ in range(random.randrange(1, 12)):
            write(path, text(random.randrange(1, 9000), self.serial), at=random.randrange(0, reach))
        if random.random() < 0.5:
            with where_supported():
                preallocate(path, random.randrange(0, reach >> 2), random.randrange(1, reach >> 6))
        if random.random() < 0.3:
            with where_supported():
                punch(path, random.randrange(0, reach >> 2), random.randrange(1, reach >> 4))
        if random.random() < 0.3:
            os.truncate(path, os.stat(path).st_size + random.randrange(1, reach << 6))
        self.files.append(path)
        return path

    def directory(self):
        path = self.name()
        os.mkdir(path, 0o755)
        self.dirs.append(path)
        self.decorate(path, is_dir=True)

    def symlink(self):
        path, draw = self.name(), self.random.random()
        length = self.random.randrange(1, 60) if draw < 0.7 else self.random.randrange(60, 4095)
        target = b"".join(b"../%d-target/" % n for n in range(length // 8 + 1))[:length]
        os.symlink(target, path)
        self.others.append(path)

    def hard_link(self):
        if self.files:
            path = self.name()
            os.link(self.random.choice(self.files), path)
            self.others.append(path)

    def node(self):
        path, kind = self.name(), self.random.choice("cbps")
        special(path, kind, self.random.randrange(256), self.random.randrange(1 << 20), self.random.choice([0o600, 0o666]))
        self.others.append(path)

    def shared(self):
        """Copies that share extents. A clone is made at the root, where no directory lends it an access list: cloning inline
        data into a file that has one makes a Linux 6.1 kernel write an inode that it refuses to read afterwards."""
        if self.files:
            source, path = self.random.choice(self.files), self.name()
            with where_supported():
                if self.random.random() < 0.5:
                    reflink(source, path)
                else:
                    clone(source, os.path.join(self.root, b".clone"))
                    os.rename(os.path.join(self.root, b".clone"), path)
                self.files.append(path)
                return path

    def decorate(self, path, is_dir=False):
        """Owner, mode, times, attributes, access lists."""
        random = self.random
        if random.random() < 0.5:
            os.chown(path, random.randrange(0, 5) * 1000, random.choice([0, 100, 4_000_000_000]), follow_symlinks=False)
            os.chmod(path, random.choice([0o600, 0o640, 0o755, 0o4755, 0o2750, 0o1777]))
        draw = random.random()
        with where_supported():
            if draw < 0.35:
                for _ in range(random.randrange(1, 4)):
                    set_xattr(path, b"user.n%d" % random.randrange(1000), text(random.randrange(0, 60), self.serial))
            elif draw < 0.40:
                for index in range(random.randrange(20, 120)):
                    set_xattr(path, b"user.attribute-%d" % index, text(random.randrange(0, 90), index))
            elif draw < 0.45:
                set_xattr(path, "trusted.größe".encode(), text(random.randrange(80, 20_000), self.serial))
        if random.random() < 0.15:
            entries = [("u", 7, None), *[("U", 5, 1000 + n) for n in range(random.randrange(1, 12))], ("g", 5, None),
                       ("G", 1, 100), ("m", 5, None), ("o", 0, None)]
            with where_supported():
                set_acl(path, entries)
                if is_dir:
                    set_acl(path, entries, default=True)
        if random.random() < 0.3:
            os.utime(path, ns=(random.randrange(-9 * 365 * DAY, 99 * 365 * DAY), random.randrange(0, 99 * 365 * DAY)))

    def make(self, count):
        kinds = [(self.file, 50), (self.sparse, 8), (self.directory, 12), (self.symlink, 10), (self.hard_link, 6),
                 (self.node, 4), (self.shared, 10)]
        for _ in range(count):
            make = self.random.choices([kind for kind, _ in kinds], [weight for _, weight in kinds])[0]
            path = make()
            if path and self.random.random() < 0.5:
                self.decorate(path)

    def use(self, count):
        """Rewrites, cuts, moves and removes some of what is there, then sets flags that forbid further changes."""
        random = self.random
        for _ in range(count):
            draw, index = random.random(), random.randrange(len(self.files))
            path = self.files[index]
            if draw < 0.3:
                write(path, text(random.randrange(1, 5000), self.serial), at=random.randrange(0, os.stat(path).st_size + 1))
            elif draw < 0.5:
                os.truncate(path, random.randrange(0, os.stat(path).st_size + 1))
            elif draw < 0.7:
                self.files[index] = self.name()
                os.rename(path, self.files[index])
            elif len(self.files) > 1:
                os.unlink(path)
                del self.files[index]
        for path in self.files:
            if random.random() < 0.03:
                set_flags(path, random.choice([IMMUTABLE, APPEND_ONLY, NO_DUMP, NO_ATIME, SYNC]))
        for path in self.dirs[3:]:
            if random.random() < 0.05:
                set_flags(path, random.choice([IMMUTABLE, NO_ATIME, DIR_SYNC]))


if __name__ == "__main__":
    population = Population(sys.argv[1], int(sys.argv[2]))
    population.make(int(sys.argv[3]))
    population.use(int(sys.argv[3]) // 8)
