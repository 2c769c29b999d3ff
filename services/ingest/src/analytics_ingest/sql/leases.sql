-- add_partitions --
-- The rows exist before anybody owns a partition: an unread partition must hold the watermark back.
INSERT INTO analytics.stream_offsets (stream, partition)
SELECT $1, number FROM generate_series(0, $2 - 1) AS numbers (number)
ON CONFLICT DO NOTHING

-- acquire --
-- Time is the database's alone, so that clocks of replicas do not matter. Our own lease may be taken anew: after a
-- broken connection that is quicker than waiting for its end, and the new epoch shuts the old connection out.
UPDATE analytics.stream_offsets
SET owner = $3, epoch = epoch + 1, lease_until = clock_timestamp() + $4, updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2
    AND (lease_until IS NULL OR lease_until <= clock_timestamp() OR owner = $3)
RETURNING epoch, next_offset, last_chunk_at, accepted_through

-- look --
-- What a replica without the lease needs: when to try again, and how far the owner is.
SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS free_in_seconds, owner, accepted_through
FROM analytics.stream_offsets
WHERE stream = $1 AND partition = $2

-- renew --
-- $5 is the age of a proof that everything accepted before it is committed; null renews the lease alone.
UPDATE analytics.stream_offsets
SET lease_until = clock_timestamp() + $4,
    accepted_through = greatest(accepted_through, clock_timestamp() - $5::interval),
    updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND epoch = $3
RETURNING accepted_through

-- release --
-- The next owner need not wait. The epoch stays: only acquiring raises it.
UPDATE analytics.stream_offsets
SET lease_until = clock_timestamp(), updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND epoch = $3
