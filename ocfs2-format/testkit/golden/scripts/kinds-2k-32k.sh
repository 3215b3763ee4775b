# Objects of all kinds with 2 KiB blocks in clusters of 32 KiB.
volume 128M -M local -b 2048 -C 32K -J size=4M -L kinds
populate 3 200
facts
