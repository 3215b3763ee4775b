# Fresh volume for a cluster of four nodes, 1 KiB blocks in clusters of 8 KiB.
volume 64M -b 1024 -C 8192 -N 4 -J size=4M -L four-slots
