# Objects of all kinds the oldest feature level knows: no holes, no inline data, no attributes, no index, old slot map.
volume 64M -M local -b 1024 -C 4096 -J size=4M --fs-feature-level=max-compat -L oldest
populate 7 120
facts
