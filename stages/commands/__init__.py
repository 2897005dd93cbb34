"""The commands that are no stage of their own: one file each."""
