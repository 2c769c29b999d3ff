-- announce --
-- Here and well, for $3. Those who have not said so in time are forgotten: a name never comes back.
WITH forgotten AS (
    DELETE FROM analytics.ingest_owners WHERE stream = $1 AND owner <> $2 AND alive_until <= clock_timestamp()
)
INSERT INTO analytics.ingest_owners (stream, owner, alive_until)
VALUES ($1, $2, clock_timestamp() + $3)
ON CONFLICT (stream, owner) DO UPDATE SET alive_until = EXCLUDED.alive_until

-- withdraw --
DELETE FROM analytics.ingest_owners WHERE stream = $1 AND owner = $2

-- shares --
-- What each announced process owns of the $2 partitions.
SELECT members.owner, count(offsets.partition) AS owned
FROM analytics.ingest_owners AS members
LEFT JOIN analytics.stream_offsets AS offsets
    ON offsets.stream = members.stream AND offsets.partition < $2 AND offsets.owner = members.owner
        AND offsets.lease_until > clock_timestamp()
WHERE members.stream = $1 AND members.alive_until > clock_timestamp()
GROUP BY members.owner
