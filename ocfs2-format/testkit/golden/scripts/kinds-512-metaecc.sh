# Objects of all kinds with checks in blocks of 512 bytes: no attributes inside inodes, small lists, deep trees.
volume 64M -M local -b 512 -C 4096 -J size=4M --fs-features=metaecc -L kinds
populate 5 200
facts
