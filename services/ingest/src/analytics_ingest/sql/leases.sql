-- add_partitions --
-- The rows exist before anybody owns a partition: an unread partition must hold the watermark back.
INSERT INTO analytics.stream_offsets (stream, partition)
SELECT $1, number FROM generate_series(0, $2 - 1) AS numbers (number)
ON CONFLICT DO NOTHING

-- acquire --
-- Time is the database's alone, so that clocks of replicas do not matter. Our own lease may be taken anew: after a
-- broken connection that is quicker than waiting for its end, and the new epoch shuts the old connection out.
-- A free partition is left to announced processes that own fewer, but not for longer than $5. One whose row a batch
-- holds is not free. Nobody waits for it: all partitions of this process would wait with it.
WITH free AS (
    SELECT stream, partition
    FROM analytics.stream_offsets
    WHERE stream = $1 AND partition = $2 AND (
        owner = $3
        OR coalesce(lease_until, updated_at) <= clock_timestamp() - $5::interval
        OR (lease_until IS NULL OR lease_until <= clock_timestamp()) AND NOT EXISTS (
            WITH members AS (
                SELECT members.owner, count(offsets.partition) AS owned
                FROM analytics.ingest_owners AS members
                LEFT JOIN analytics.stream_offsets AS offsets
                    ON offsets.stream = members.stream AND offsets.owner = members.owner
                        AND offsets.lease_until > clock_timestamp()
                WHERE members.stream = $1 AND members.alive_until > clock_timestamp()
                GROUP BY members.owner
            )
            SELECT FROM members AS others
            WHERE others.owner <> $3
                AND others.owned < coalesce((SELECT owned FROM members WHERE owner = $3), others.owned + 1)
        )
    )
    FOR NO KEY UPDATE SKIP LOCKED
)
UPDATE analytics.stream_offsets AS wanted
SET owner = $3, epoch = epoch + 1, lease_until = clock_timestamp() + $4, retired_at = NULL,
    updated_at = clock_timestamp()
FROM free
WHERE wanted.stream = free.stream AND wanted.partition = free.partition
RETURNING epoch, next_offset, last_chunk_at, accepted_through

-- end_silent_session --
-- The lease is over, yet a transaction holds the row. While the server works, the batch is slow and must end: the next
-- owner would be as slow. When the server has waited for its client for $3, the owner is frozen or cut off, and would
-- hold the row for a minute (idle_in_transaction_session_timeout; within a COPY, statement_timeout). A role may end only
-- its own sessions. The owner finds its connection broken, as in any outage.
SELECT sessions.pid, pg_terminate_backend(sessions.pid) AS is_ended
FROM analytics.stream_offsets AS offsets
JOIN pg_locks AS locks ON locks.transactionid = offsets.xmax AND locks.granted
JOIN pg_stat_activity AS sessions ON sessions.pid = locks.pid
WHERE offsets.stream = $1 AND offsets.partition = $2 AND offsets.lease_until <= clock_timestamp()
    AND sessions.usename = current_user
    AND sessions.wait_event = 'ClientRead' AND sessions.state_change <= clock_timestamp() - $3::interval

-- look --
-- What a replica without the lease needs: when to try again, and how far the owner is.
SELECT extract(epoch FROM lease_until - clock_timestamp())::float8 AS free_in_seconds, owner, accepted_through
FROM analytics.stream_offsets
WHERE stream = $1 AND partition = $2

-- renew --
-- Everything accepted before $5 is committed; null renews the lease alone.
UPDATE analytics.stream_offsets
SET lease_until = clock_timestamp() + $4,
    accepted_through = greatest(accepted_through, $5::timestamptz),
    updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND epoch = $3
RETURNING accepted_through

-- database_time --
SELECT clock_timestamp()

-- release --
-- The next owner need not wait; $4: nor be us. The epoch stays: only acquiring raises it.
UPDATE analytics.stream_offsets
SET lease_until = clock_timestamp(), owner = CASE WHEN $4 THEN NULL ELSE owner END, updated_at = clock_timestamp()
WHERE stream = $1 AND partition = $2 AND epoch = $3
