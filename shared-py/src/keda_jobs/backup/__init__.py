"""Backups of the streams, in a folder or a bucket: taken while publishers and jobs work, and restored."""
