# Fresh volume stamped with an o2cb cluster that uses global heartbeat.
volume 32M -b 4096 -C 4096 -N 2 -J size=4M --cluster-stack=o2cb --cluster-name=golden --global-heartbeat -L stamped
