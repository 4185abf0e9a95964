"""Where bytes touch the disk: run directories, blobs, keys and trust."""
