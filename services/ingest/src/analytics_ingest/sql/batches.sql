-- advance_offset --
-- First statement of the transaction. Of two writers with the same expectation one changes the row and the other none:
-- batches of a partition cannot overlap, repeat or leave a hole, whoever believes to own it. The row stays locked until
-- the end, which also keeps the lease. All that was accepted before the last message ($6) is committed with it.
UPDATE analytics.stream_offsets
SET next_offset = $5,
    last_chunk_at = $6,
    accepted_through = greatest(accepted_through, $6),
    lease_until = clock_timestamp() + $7,
    updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND epoch = $3 AND next_offset = $4
RETURNING nextval('analytics.ingestion_batches_batch_id_seq') AS batch_id, accepted_through

-- insert_batch --
-- The id was drawn by advance_offset, because the events carry it.
INSERT INTO analytics.ingestion_batches (
    batch_id, stream, partition, first_offset, last_offset, received_count, stored_count, duplicate_count,
    conflict_count, rejected_count, rejected_tail_count, occurred_min, occurred_max, late, first_chunk_at, traceparent
)
OVERRIDING SYSTEM VALUE
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16)
RETURNING committed_at

-- read_position --
-- After a commit whose answer was lost: has it happened?
SELECT next_offset FROM analytics.stream_offsets WHERE stream = $1 AND partition = $2 AND epoch = $3

-- note_gap --
-- With the position that passes it, so that it is noted once.
INSERT INTO analytics.stream_gaps (stream, partition, first_offset, end_offset, reason, after_at, before_at)
VALUES ($1, $2, $3, $4, 'retention', $5, $6)
