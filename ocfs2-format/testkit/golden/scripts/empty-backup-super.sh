# Fresh volume above 1 GiB with one backup superblock, and above one cluster group of 4 KiB blocks; without local mark.
volume 1100M -b 4096 -C 4096 -N 2 -J size=4M -L backup
