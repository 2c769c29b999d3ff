-- Who is there to share the partitions with. Leases say who owns what; this says who could own more.
CREATE TABLE analytics.ingest_owners (
    stream      text        NOT NULL,
    owner       text        NOT NULL,
    alive_until timestamptz NOT NULL,
    PRIMARY KEY (stream, owner)
);
COMMENT ON TABLE analytics.ingest_owners IS
    'Ingest processes that are well, as they announce themselves. Only balance depends on it, never who may write.';

CREATE TABLE analytics.stream_gaps (
    gap_id       bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    stream       text        NOT NULL,
    partition    integer     NOT NULL,
    first_offset bigint      NOT NULL,
    end_offset   bigint      NOT NULL,
    reason       text        NOT NULL,
    after_at     timestamptz,
    before_at    timestamptz,
    detected_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stream_gaps_reason CHECK (reason IN ('retention', 'reset')),
    CONSTRAINT stream_gaps_bounds CHECK (first_offset < end_offset)
);
COMMENT ON TABLE analytics.stream_gaps IS
    'Messages that ingest never read: removed by retention before, or skipped by an operator. Written with the position that passes them.';
COMMENT ON COLUMN analytics.stream_gaps.end_offset IS 'The first offset that was read again.';
COMMENT ON COLUMN analytics.stream_gaps.after_at IS
    'The missing messages were accepted after this time and before before_at, as far as known.';

ALTER TABLE analytics.stream_offsets ADD COLUMN retired_at timestamptz;
COMMENT ON COLUMN analytics.stream_offsets.retired_at IS
    'Nobody reads this partition any more, by an operator''s word; whoever acquires it again clears this.';

-- As before, but a retired partition no longer holds anything back.
CREATE OR REPLACE FUNCTION analytics.watermark() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN count(*) > 0 AND count(*) = count(accepted_through) THEN least(
        min(accepted_through),
        (SELECT min(first_chunk_at) FROM analytics.ingestion_batches WHERE folded_at IS NULL)
    ) END
    FROM analytics.stream_offsets
    WHERE retired_at IS NULL
$$;

GRANT SELECT ON analytics.ingest_owners, analytics.stream_gaps
    TO analytics_ingest, analytics_rollup, analytics_query_api, analytics_export;
GRANT INSERT, UPDATE, DELETE ON analytics.ingest_owners TO analytics_ingest;
GRANT INSERT ON analytics.stream_gaps TO analytics_ingest;
