-- list_partitions --
SELECT
    stream, partition, next_offset, epoch, owner, lease_until > clock_timestamp() AS is_owned, accepted_through,
    stopped_at, stopped_because, stopped_through, dead_letters_through, retired_at,
    (
        SELECT coalesce(sum(gaps.end_offset - gaps.first_offset), 0)::bigint
        FROM analytics.stream_gaps AS gaps
        WHERE gaps.stream = offsets.stream AND gaps.partition = offsets.partition
    ) AS offsets_in_gaps
FROM analytics.stream_offsets AS offsets
ORDER BY stream, partition

-- list_gaps --
SELECT stream, partition, first_offset, end_offset, reason, after_at, before_at, detected_at
FROM analytics.stream_gaps
ORDER BY gap_id DESC

-- lock_position --
SELECT next_offset FROM analytics.stream_offsets WHERE stream = $1 AND partition = $2 FOR UPDATE

-- move_position --
-- The new epoch shuts out the owner, who notices within a third of a lease, whatever it is doing or waiting for.
UPDATE analytics.stream_offsets
SET next_offset = $3,
    last_chunk_at = NULL,
    accepted_through = CASE WHEN $3 >= next_offset THEN accepted_through END,
    epoch = epoch + 1,
    owner = NULL,
    lease_until = clock_timestamp(),
    stopped_at = NULL,
    stopped_because = NULL,
    stopped_through = NULL,
    dead_letters_through = NULL,
    updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2

-- note_skipped --
INSERT INTO analytics.stream_gaps (stream, partition, first_offset, end_offset, reason)
VALUES ($1, $2, $3, $4, 'reset')

-- retire --
-- Only one without an owner: who reads it needs no permission to count.
UPDATE analytics.stream_offsets
SET retired_at = clock_timestamp(), updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND (lease_until IS NULL OR lease_until <= clock_timestamp())
RETURNING retired_at
