# Objects of all kinds with default features, 4 KiB blocks and clusters, made from a seed and partly used again.
volume 64M -M local -b 4096 -C 4096 -J size=4M -L kinds
populate 1 250
facts
