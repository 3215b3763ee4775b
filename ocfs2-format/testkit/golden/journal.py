"""Says what the log of a dirty journal holds, in one line: journal.py JOURNAL-FILE.

    transactions=12 blocks=340 escaped=1 wrapped=1 unfinished=1 tags=64 incompat=0x2 compat=0x0

`unfinished` is 1 when blocks of a transaction without a commit block follow the last complete one. Only for the scripts
that make golden images, which check with it that they have provoked what they are for.
"""

import struct
import sys

MAGIC = 0xC03B3998
DESCRIPTOR, COMMIT = 1, 2
ESCAPED, SAME_UUID, LAST = 1, 2, 8

data = open(sys.argv[1], "rb").read()
block_size, maxlen, first, sequence, start = struct.unpack_from(">5I", data, 0x0C)
compat, incompat = struct.unpack_from(">2I", data, 0x24)
tag_size = 12 if incompat & 2 else 8


def block(number):
    return data[number * block_size:(number + 1) * block_size]


def advance(number, count=1):
    global wrapped
    for _ in range(count):
        number += 1
        if number == maxlen:
            number, wrapped = first, True
    return number


def tags(descriptor):
    """The flags of each block that follows a descriptor."""
    offset, flags = 12, 0
    while not flags & LAST:
        flags = struct.unpack_from(">H", descriptor, offset + 6)[0]
        offset += tag_size + (0 if flags & SAME_UUID else 16)
        yield flags


wrapped = False
transactions = blocks = escaped = pending = 0
at = start
while start and pending <= maxlen:
    magic, kind, found = struct.unpack_from(">3I", block(at))
    if magic != MAGIC or found != sequence:
        break
    if kind == COMMIT:
        transactions, sequence, blocks, pending = transactions + 1, sequence + 1, blocks + pending, 0
    elif kind == DESCRIPTOR:
        flags = list(tags(block(at)))
        escaped += sum(flag & ESCAPED for flag in flags)
        pending += len(flags)
        at = advance(at, len(flags))
    at = advance(at)
print(f"transactions={transactions} blocks={blocks} escaped={escaped} wrapped={int(wrapped)} unfinished={int(pending > 0)} "
      f"tags={64 if incompat & 2 else 32} incompat={incompat:#x} compat={compat:#x}")
