# Fresh volume stamped with a cluster stack outside the kernel.
volume 32M -b 4096 -C 4096 -N 2 -J size=4M --cluster-stack=pcmk --cluster-name=golden
