# Power cut during appends past the page cache: an inode that is in its directory and, for the recovery to cut what was
# allocated beyond its end, under a name with the prefix dio- in the orphan directory. The facts are from after that recovery,
# which changed mtime, ctime, blocks and extents of the files direct-0, direct-1 and so on.
for attempt in {1..40}; do
    rm -f "$IMAGE"
    volume 64M -M local -b 4096 -C 4096 -J size=4M -L direct
    guest --until READY --after $((attempt * 3)) <<'SCRIPT'
mount -t ocfs2 -o commit=1 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import mmap, threading
from objects import *

for index in range(20):
    write(f"/mnt/a/file-{index}", text(index * 500, index))
os.sync()

def append(index):
    """Appends of 1 MiB; the content is the same line over and over."""
    buffer = mmap.mmap(-1, 1 << 20)
    buffer.write((b"direct append %017d\n" % index) * (1 << 15))
    fd = os.open(f"/mnt/a/direct-{index}", os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
    for at in range(0, 8 << 20, 1 << 20):
        os.pwrite(fd, buffer, at)

def commit():
    """Commits what the appending threads have begun."""
    for step in range(1000):
        write("/mnt/a/committed", b"%d" % step)
        sync_file("/mnt/a/committed")
        if step == 2:
            print("READY", flush=True)

for index in range(4):
    threading.Thread(target=append, args=(index,)).start()
commit()
PYTHON
SCRIPT
    replayed
    if IMAGE=$WORK/replayed shows 'ls -l //orphan_dir:0000' 'dio-[0-9a-f]{16}'; then break; fi
done
IMAGE=$WORK/replayed shows 'ls -l //orphan_dir:0000' 'dio-[0-9a-f]{16}'
facts
