"""Rollups to JSON over HTTP."""
