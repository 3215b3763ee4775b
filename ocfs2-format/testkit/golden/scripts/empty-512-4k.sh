# Fresh volume with the smallest blocks: two blocks of journal superblock, descriptors that cover few clusters.
volume 16M -M local -b 512 -C 4096 -J size=4M -L smallest -U 00112233445566778899AABBCCDDEEFF
