# Fresh volume with all features: checks, user and group quotas.
volume 64M -M local -b 4096 -C 4096 -J size=4M --fs-feature-level=max-features -L everything
