"""Publishes usage events to the stream, from a trace or a generator, and keeps an exact ledger of what it published.

The data's path: `trace` or `generator` (calls: when, how many tokens) → `decoration` (who, which model, how it ended)
→ `messages` (bytes; repeated, held back and broken ones among them) → `pacing` → `run` (publishes with the producer
client) → `ledger`.
"""
