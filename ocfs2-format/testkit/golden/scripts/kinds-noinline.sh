# Objects of all kinds with nothing inline and no discontiguous groups; directories made by mkfs.ocfs2 have odd sizes.
volume 64M -M local -b 1024 -C 4096 -J size=4M --fs-features=noinline-data,nodiscontig-bg -L kinds
populate 9 150
facts
