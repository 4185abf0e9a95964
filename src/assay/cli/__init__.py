"""The command line: one file per noun, each command parses, makes one library call and prints."""
