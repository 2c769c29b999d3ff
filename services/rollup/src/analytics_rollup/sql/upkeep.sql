-- drop_oldest_chunk --
-- One chunk a transaction; the function refuses what must stay.
SELECT analytics.drop_oldest_chunk($1, $2)

-- alone --
-- Replicas take turns: two that drop the same chunk would wait for each other.
SELECT pg_try_advisory_xact_lock(hashtextextended('analytics.retention', 0))
