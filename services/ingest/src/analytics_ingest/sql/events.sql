-- lock_some --
-- First of the three locks that make batches of several partitions take turns: whoever looks for namesakes must see
-- what every transaction before it has stored, and see it committed. Shared by all that lock their organisations.
SELECT pg_advisory_xact_lock_shared(hashtext('analytics.usage_events'))

-- lock_orgs --
-- The batch's organisations, in the order of their keys, so that nobody waits in a circle. Where publishers route by
-- organisation, batches of different partitions have none in common and do not wait for each other.
SELECT pg_advisory_xact_lock(hashtext('analytics.usage_events.org'), key) FROM unnest($1::integer[]) AS keys (key)

-- lock_all --
-- In place of the other two, when there are so many organisations that their locks would fill the server's table.
SELECT pg_advisory_xact_lock(hashtext('analytics.usage_events'))

-- make_incoming --
-- The ids of a batch, for find_namesakes: 0.2 µs an event, half of what arrays as parameters cost. Made once for each
-- connection.
CREATE TEMPORARY TABLE IF NOT EXISTS incoming_ids (org_id uuid, event_id uuid, occurred_at timestamptz)
ON COMMIT DELETE ROWS

-- plan_for_values --
-- A generic plan would look into every chunk of the hypertable; with the day's bounds as values the planner sees three.
SET LOCAL plan_cache_mode = force_custom_plan

-- find_namesakes --
-- Events stored between $3 and $4 whose organisation and id are those of incoming events of one UTC day ($1 to $2).
-- One index scan an organisation and chunk, which walks through the sorted ids: 2 µs an event where a scan for each
-- event takes 4. The bounds are values: timestamptz arithmetic is not constant to the planner, and with it all chunks
-- of the table are opened. OFFSET 0 keeps the planner from joining all events of the days with all organisations, which
-- it would believe to be cheap while a new day has no statistics. How far apart namesakes may be is the caller's affair.
SELECT
    org_id, event_id, occurred_at, cost_microcents, latency_ms, input_tokens, output_tokens, cached_input_tokens,
    reasoning_tokens, status, model_id, actor_id, client_id, error_code,
    coalesce(metadata_json, metadata::text) AS metadata
FROM (
    SELECT org_id AS incoming_org_id, array_agg(event_id) AS event_ids
    FROM incoming_ids
    WHERE occurred_at >= $1 AND occurred_at < $2
    GROUP BY org_id
) AS incoming
CROSS JOIN LATERAL (
    SELECT *
    FROM analytics.usage_events
    WHERE org_id = incoming.incoming_org_id
        AND event_id = ANY (incoming.event_ids)
        AND occurred_at >= $3 AND occurred_at <= $4
    OFFSET 0
) AS stored
