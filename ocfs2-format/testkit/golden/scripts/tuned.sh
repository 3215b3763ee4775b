# A volume that tunefs.ocfs2 has changed after it was populated: grown into a second cluster group, two slots added, quotas
# switched on, a new label and UUID, so the stored hash of the UUID is that of an older one.
volume 112M -M local -b 4096 -C 4096 -J size=4M -L before
populate 10 120
tune() { tunefs.ocfs2 -y "$@" "$IMAGE" >tune.out 2>&1 || { cat tune.out >&2; return 1; }; }
truncate -s 144M "$IMAGE"
tunefs.ocfs2 -y -S "$IMAGE"
tune -N 3
tune --fs-features=usrquota,grpquota
tune -L after
tune --uuid-reset=0123456789ABCDEF0123456789ABCDEF
shows 'stats -h' 'Max Node Slots: 3'
shows 'stat //global_bitmap' 'Clusters: 36864'
facts
