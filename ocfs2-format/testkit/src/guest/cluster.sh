# An O2CB cluster of guest kernels. Source this, then:
#   cluster_up NAME NODE NODES [DEVICE]    brings it up as node number NODE out of NODES, a list of numbers such as '0 1'; with a
#                                          DEVICE the heartbeat is global, on the region of that volume
#   cluster_down NAME                      when nothing is mounted any more
# Guests with a link (vec0) reach each other over it; a guest without one is alone in its cluster.
CLUSTER_CONF=$OUT/cluster.conf

cluster_up() {
    local name=$1 node=$2 nodes=$3 device=${4:-} mode=local region= each
    [ -z "$device" ] || { mode=global; region=$(mounted.ocfs2 -d "$device" | awk 'END { print $5 }'); }
    {
        printf 'cluster:\n\tname = %s\n\theartbeat_mode = %s\n\tnode_count = %s\n\n' "$name" "$mode" "$(set -- $nodes; echo $#)"
        for each in $nodes; do
            printf 'node:\n\tcluster = %s\n\tnumber = %s\n\tip_port = 7777\n\tip_address = 10.0.0.%s\n\tname = node%s\n\n' \
                "$name" "$each" $((each + 1)) "$each"
        done
        [ -z "$region" ] || printf 'heartbeat:\n\tcluster = %s\n\tregion = %s\n\n' "$name" "$region"
    } >"$CLUSTER_CONF"
    hostname "node$node"
    ip link set lo up
    if [ -e /sys/class/net/vec0 ]; then
        ip link set vec0 up && ip address add "10.0.0.$((node + 1))/24" dev vec0
    else
        ip address add "10.0.0.$((node + 1))/24" dev lo
    fi
    echo o2cb >/sys/fs/ocfs2/cluster_stack
    o2cb --config-file="$CLUSTER_CONF" register-cluster "$name" || return
    [ -z "$region" ] || start_heartbeat "/sys/kernel/config/cluster/$name/heartbeat/$region" "$device"
}

# What `o2cb start-heartbeat` does, which does not find the disks of user-mode Linux.
start_heartbeat() {
    local first bits
    first=$(PAGER=__none__ debugfs.ocfs2 -R 'stat //heartbeat' "$2" 2>/dev/null | awk '$1 == "0" && NF >= 4 { print $4 }')
    bits=$(PAGER=__none__ debugfs.ocfs2 -R 'stats -h' "$2" 2>/dev/null | awk '/Block Size Bits/ { print $4 }')
    mkdir "$1" && echo 512 >"$1/block_bytes" && echo $((first << (bits - 9))) >"$1/start_block" && echo 255 >"$1/blocks" &&
        echo 9 9<>"$2" >"$1/dev"
}

cluster_down() {
    ! grep -q 'heartbeat_mode = global' "$CLUSTER_CONF" || rmdir "/sys/kernel/config/cluster/$1/heartbeat/"*/
    o2cb --config-file="$CLUSTER_CONF" unregister-cluster "$1"
}
