"""Rollups to files in object storage."""
