# Fresh volume whose journals use 64-bit block numbers.
volume 32M -b 4096 -C 4096 -N 2 -J size=4M,block64
