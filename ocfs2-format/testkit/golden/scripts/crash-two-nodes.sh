# Power cut of both nodes of a cluster after they have worked in the same directory and each in its own, with checks: two
# journals to replay, two heartbeats, two slots in the map.
volume 64M -b 4096 -C 4096 -N 2 -J size=4M --cluster-stack=o2cb --cluster-name=golden --fs-features=metaecc -L cluster
node() {
    guest --until READY --after 600 --link 1$1077:1$2077 <<SCRIPT
. "\$KIT/cluster.sh"
cluster_up golden $1 '0 1'
mount -t ocfs2 /dev/ubda /mnt/a
python3 - <<'PYTHON'
import time
from objects import *

me, other = $1, $2
def wait_for(path):
    for attempt in range(600):
        if os.path.exists(path):
            return
        time.sleep(0.1)

write(f"/mnt/a/here-{me}")
wait_for(f"/mnt/a/here-{other}")
if me == 0:
    os.mkdir("/mnt/a/shared")
wait_for("/mnt/a/shared")
for index in range(60):
    write(f"/mnt/a/shared/node-{me}-file-{index}", text(index * 200, me))
    with open("/mnt/a/log", "a") as log:
        log.write(f"node {me} step {index}\n")
    if index > 20:
        os.unlink(f"/mnt/a/shared/node-{me}-file-{index - 20}")
os.mkdir(f"/mnt/a/own-{me}")
sync_file("/mnt/a/log")
write(f"/mnt/a/ready-{me}")
sync_file(f"/mnt/a/ready-{me}")
wait_for(f"/mnt/a/ready-{other}")
# Until the other has seen this too: whoever asks for a lock makes its holder empty the journal.
time.sleep(2)
for index in range(40):
    write(f"/mnt/a/own-{me}/file-{index}", text(index * 200, me))
for index in range(0, 40, 3):
    os.unlink(f"/mnt/a/own-{me}/file-{index}")
sync_file(f"/mnt/a/own-{me}")
print("READY", flush=True)
time.sleep(600)
PYTHON
SCRIPT
}
node 0 1 & first=$!
node 1 0 & second=$!
wait $first
wait $second
logs 'transactions=[1-9]' 0
logs 'transactions=[1-9]' 1
facts '. "$KIT/cluster.sh"; cluster_up golden 0 "0 1"'
