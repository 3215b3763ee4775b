# Power cut of node 3 of a cluster with global heartbeat, mounted in slot 2: its heartbeat in the region, its slot in the map.
volume 48M -b 4096 -C 4096 -N 4 -J size=4M --cluster-stack=o2cb --cluster-name=golden --global-heartbeat -L cluster
guest --until READY <<'SCRIPT'
. "$KIT/cluster.sh"
cluster_up golden 3 '3' /dev/ubda
mount -t ocfs2 -o preferred_slot=2 /dev/ubda /mnt/a
python3 "$KIT/interrupted.py" /mnt/a
SCRIPT
shows slotmap '^[[:space:]]+2[[:space:]]+3$'
shows hb '^[[:space:]]+3:[[:space:]]+3 [0-9a-f]{16} [0-9a-f]{15}'
facts '. "$KIT/cluster.sh"; cluster_up golden 3 3 /dev/ubda'
