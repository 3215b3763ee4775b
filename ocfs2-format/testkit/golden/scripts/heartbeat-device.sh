# A heartbeat device: a region for heartbeats and nothing else, not a volume that can be mounted.
volume 1M -H -L region
