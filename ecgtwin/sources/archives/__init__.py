"""The archives as their publishers lay them out, one file each."""
