# Fresh volume of the oldest feature level, for two nodes: old slot map, directories in blocks.
volume 64M -b 4096 -C 4096 -N 2 -J size=4M --fs-feature-level=max-compat -L oldest
