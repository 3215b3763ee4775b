# Objects of all kinds with checks but without indexed directories, so directory blocks have trailers and no index.
volume 64M -M local -b 2048 -C 4096 -J size=4M --fs-features=metaecc,noindexed-dirs -L kinds
populate 8 150
facts
