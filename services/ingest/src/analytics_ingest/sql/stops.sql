-- stop_history --
-- The latest batches, newest first, that nobody has decided about: a limit that forgot them at every start would let as
-- many dead letters through again.
SELECT batches.received_count, batches.rejected_count, batches.rejected_tail_count
FROM analytics.ingestion_batches AS batches
WHERE batches.stream = $1 AND batches.partition = $2 AND batches.first_offset > $3
ORDER BY batches.batch_id DESC
LIMIT $4

-- read_stop --
SELECT stopped_at IS NOT NULL AS is_stopped, coalesce(dead_letters_through, -1) AS dead_letters_through
FROM analytics.stream_offsets
WHERE stream = $1 AND partition = $2

-- note_stop --
-- The time is that of the first stop, not of the latest attempt.
UPDATE analytics.stream_offsets
SET stopped_at = coalesce(stopped_at, clock_timestamp()), stopped_because = $4, stopped_through = $5
WHERE stream = $1 AND partition = $2 AND epoch = $3

-- clear_stop --
UPDATE analytics.stream_offsets
SET stopped_at = NULL, stopped_because = NULL, stopped_through = NULL
WHERE stream = $1 AND partition = $2 AND epoch = $3

-- resume --
UPDATE analytics.stream_offsets
SET dead_letters_through = coalesce($3, stopped_through), stopped_at = NULL, stopped_because = NULL,
    stopped_through = NULL
WHERE stream = $1 AND partition = $2 AND stopped_at IS NOT NULL
RETURNING dead_letters_through
