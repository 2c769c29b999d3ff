"""The audit trail behind query-api: its chain, the proof that it is whole, and what it shows."""
