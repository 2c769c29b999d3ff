-- list_dead_letters --
-- Newest first, by the primary key: letters are few, and a filter that matches none reads them all once.
SELECT
    dead_letter_id, stream, partition, stream_offset, message_index, reason, field, detail, org_id, dead_lettered_at,
    octet_length(body) AS size_bytes, substring(body FROM 1 FOR $9) AS body, replayed_at, replayed_by, replay_problem
FROM analytics.dead_letters
WHERE dead_letter_id < $1
    AND ($2::text IS NULL OR reason = $2)
    AND ($3::text IS NULL OR stream = $3)
    AND ($4::integer IS NULL OR partition = $4)
    AND ($5::uuid IS NULL OR org_id = $5)
    AND ($6::timestamptz IS NULL OR dead_lettered_at >= $6)
    AND ($7::timestamptz IS NULL OR dead_lettered_at < $7)
    AND ($8::boolean IS NULL OR (replayed_at IS NOT NULL) = $8)
ORDER BY dead_letter_id DESC
LIMIT $10

-- show_dead_letter --
SELECT
    dead_letter_id, stream, partition, stream_offset, message_index, reason, field, detail, org_id, dead_lettered_at,
    octet_length(body) AS size_bytes, body, replayed_at, replayed_by, replay_problem, replayed_body
FROM analytics.dead_letters
WHERE dead_letter_id = $1

-- newest_dead_letter --
-- A replay of everything ends here: what it adds itself is for the next one.
SELECT coalesce(max(dead_letter_id), 0) FROM analytics.dead_letters

-- take_dead_letters --
-- The lock is held until the events are confirmed: whoever replays the same letters waits, and then finds them replayed.
-- A body that is larger than an event may be cannot be right, so it is not fetched.
SELECT dead_letter_id, CASE WHEN octet_length(body) <= $10 THEN body END AS body
FROM analytics.dead_letters
WHERE dead_letter_id > $1 AND dead_letter_id <= $2
    AND replayed_at IS NULL
    AND ($3::text IS NULL OR reason = $3)
    AND ($4::text IS NULL OR stream = $4)
    AND ($5::integer IS NULL OR partition = $5)
    AND ($6::uuid IS NULL OR org_id = $6)
    AND ($7::timestamptz IS NULL OR dead_lettered_at >= $7)
    AND ($8::timestamptz IS NULL OR dead_lettered_at < $8)
ORDER BY dead_letter_id
LIMIT $9
FOR UPDATE

-- take_dead_letter --
SELECT dead_letter_id, replayed_at IS NOT NULL AS is_replayed, CASE WHEN octet_length(body) <= $2 THEN body END AS body
FROM analytics.dead_letters
WHERE dead_letter_id = $1
FOR UPDATE

-- note_replayed --
UPDATE analytics.dead_letters
SET replayed_at = clock_timestamp(), replayed_by = $2, replayed_body = $3, replay_problem = NULL
WHERE dead_letter_id = ANY ($1::bigint[])

-- note_refused --
UPDATE analytics.dead_letters AS letter
SET replay_problem = refused.problem
FROM unnest($1::bigint[], $2::text[]) AS refused (dead_letter_id, problem)
WHERE letter.dead_letter_id = refused.dead_letter_id
