# Objects of all kinds with checks, 1 KiB blocks in clusters of 8 KiB, so a bucket of attributes is four blocks.
volume 64M -M local -b 1024 -C 8192 -J size=4M --fs-features=metaecc -L kinds
populate 4 250
facts
