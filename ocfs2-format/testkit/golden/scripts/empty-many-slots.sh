# Fresh volume with 32 slots, so the system directory needs blocks, and mkfs.ocfs2 leaves it without the index it should have.
volume 200M -b 2048 -C 4096 -N 32 -J size=4M -L many
