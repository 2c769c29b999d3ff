"""The rules of `tools/tidy.py`, in three files: what they look at, one file at a time, SQL across files."""
