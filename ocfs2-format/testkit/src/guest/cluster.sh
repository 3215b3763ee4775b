# A cluster of one node inside the guest. Source this, then:
#   cluster_up NAME [NODE] [DEVICE]    brings it up as node number NODE; with a DEVICE the heartbeat is global, on that device
#   cluster_down NAME
cluster_up() {
    local name=$1 node=${2:-0} device=${3:-} mode=local uuid=
    mount -t tmpfs none /etc/ocfs2 || return
    [ -z "$device" ] || { mode=global; uuid=$(mounted.ocfs2 -d "$device" | awk 'END { print $(NF - 1) }'); }
    {
        printf 'cluster:\n\tname = %s\n\theartbeat_mode = %s\n\tnode_count = 1\n\n' "$name" "$mode"
        printf 'node:\n\tcluster = %s\n\tnumber = %s\n\tip_port = 7777\n\tip_address = 127.0.0.1\n\tname = node%s\n\n' "$name" "$node" "$node"
        [ -z "$uuid" ] || printf 'heartbeat:\n\tcluster = %s\n\tregion = %s\n\n' "$name" "$uuid"
    } >/etc/ocfs2/cluster.conf
    hostname "node$node"
    ip link set lo up
    echo o2cb >/sys/fs/ocfs2/cluster_stack
    o2cb register-cluster "$name" || return
    [ -z "$uuid" ] || o2cb start-heartbeat "$name"
}
cluster_down() {
    [ "$(awk '/heartbeat_mode/ { print $3 }' /etc/ocfs2/cluster.conf)" = local ] || o2cb stop-heartbeat "$1"
    o2cb unregister-cluster "$1"
}
