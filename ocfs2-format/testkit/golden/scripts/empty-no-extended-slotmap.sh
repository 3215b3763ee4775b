# Fresh volume with current features but the old slot map.
volume 32M -b 4096 -C 4096 -N 3 -J size=4M --fs-features=noextended-slotmap
