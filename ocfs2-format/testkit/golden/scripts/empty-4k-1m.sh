# Fresh volume with the largest clusters, of 1 MiB, so the superblock's cluster holds 256 blocks.
volume 128M -M local -b 4096 -C 1M -J size=9M -L largest
