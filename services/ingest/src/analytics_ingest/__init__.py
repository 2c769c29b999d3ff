"""Stream to events and batches, exactly once."""
