# Fresh volume with 2 KiB blocks in clusters of 32 KiB.
volume 64M -M local -b 2048 -C 32K -J size=4M
