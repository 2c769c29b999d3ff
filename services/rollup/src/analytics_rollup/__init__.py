"""Committed batches to hourly and daily rollups, folded once."""
