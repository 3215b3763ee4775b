# Objects of all kinds with all features, so every metadata block has its checks; 4 KiB blocks and clusters.
volume 64M -M local -b 4096 -C 4096 -J size=4M --fs-feature-level=max-features -L kinds-metaecc
populate 2 250
facts
