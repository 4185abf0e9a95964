"""The training certificate: build, read and verify it. Pure: it opens no file, needs no torch and no network."""
