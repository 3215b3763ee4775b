# Fresh volume with nothing but defaults: mkfs.ocfs2 chooses block size, slots and journal.
volume 600M
