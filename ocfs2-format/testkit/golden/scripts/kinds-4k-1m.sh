# Objects of all kinds in clusters of 1 MiB, so most clusters are nearly empty.
volume 300M -M local -b 4096 -C 1M -J size=16M -L kinds
populate 6 120
facts
