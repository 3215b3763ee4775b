"""Makes, changes and removes files and syncs each step: busy.py DIR STEPS. Says READY after STEPS steps and goes on."""

import os
import sys

from objects import *

root, steps = sys.argv[1], int(sys.argv[2])
step = 0
while True:
    step += 1
    name = os.path.join(root, f"file-{step}")
    write(name, text(step % 40 * 500, step))
    with where_supported():
        set_xattr(name, "user.step", b"%d" % step)
    if step > 30:
        os.unlink(os.path.join(root, f"file-{step - 30}"))
    sync_file(name)
    if step == steps:
        print("READY", flush=True)
