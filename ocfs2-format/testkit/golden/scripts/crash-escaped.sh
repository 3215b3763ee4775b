# Power cut with symbolic links in the journal whose target begins with the journal's magic number, so their blocks are escaped.
volume 32M -M local -b 512 -C 4096 -J size=4M -L crash
guest --until READY <<'SCRIPT'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import time
from objects import *

for index in range(3):
    os.symlink(b"\xc0\x3b\x39\x98" + b"%d" % index + b"/target" * 60, f"/mnt/a/escaped-{index}")
os.symlink(b"/target" * 60, "/mnt/a/ordinary")
sync_file("/mnt/a")
print("READY", flush=True)
time.sleep(600)
PYTHON
SCRIPT
logs 'escaped=3'
facts
