-- The two rollups differ in the width of their bucket alone. Their key is the model family: (org, model, bucket).
CREATE TABLE analytics.usage_hourly (
    org_id              uuid        NOT NULL,
    bucket_start        timestamptz NOT NULL,
    model_id            text        NOT NULL,
    invocations         bigint      NOT NULL,
    error_count         bigint      NOT NULL,
    timeout_count       bigint      NOT NULL,
    throttled_count     bigint      NOT NULL,
    input_tokens        bigint      NOT NULL,
    output_tokens       bigint      NOT NULL,
    cached_input_tokens bigint      NOT NULL,
    reasoning_tokens    bigint      NOT NULL,
    cost_microcents     bigint      NOT NULL,
    latency_bins        smallint[]  NOT NULL,
    latency_counts      bigint[]    NOT NULL,
    first_event_at      timestamptz NOT NULL,
    last_event_at       timestamptz NOT NULL,
    revision            integer     NOT NULL DEFAULT 0,
    revised_at          timestamptz,
    PRIMARY KEY (org_id, bucket_start, model_id)
);
COMMENT ON TABLE analytics.usage_hourly IS 'Usage per org, model and UTC hour. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_hourly.latency_bins IS
    'Ascending bins of the log-linear latency histogram that hold at least one call; latency_counts has their counts.';
COMMENT ON COLUMN analytics.usage_hourly.revision IS 'How often the bucket changed after it was finalized; revised_at is the last time.';
SELECT public.create_hypertable(
    'analytics.usage_hourly', public.by_range('bucket_start', INTERVAL '30 days'), create_default_indexes => false
);

CREATE TABLE analytics.usage_daily (LIKE analytics.usage_hourly INCLUDING ALL);
COMMENT ON TABLE analytics.usage_daily IS 'Usage per org, model and UTC day. Written by rollup alone.';
SELECT public.create_hypertable(
    'analytics.usage_daily', public.by_range('bucket_start', INTERVAL '180 days'), create_default_indexes => false
);

CREATE TABLE analytics.freshness_status (
    org_id         uuid        NOT NULL,
    model_id       text        NOT NULL,
    last_event_at  timestamptz NOT NULL,
    last_rollup_at timestamptz NOT NULL,
    PRIMARY KEY (org_id, model_id)
);
COMMENT ON TABLE analytics.freshness_status IS 'Newest folded event of each org and model. Written by rollup alone.';

-- Log-linear bins with 64 sub-buckets an octave (k = 6): values below 128 ms have a bin of their own, above it the
-- relative error of a bin's representative is at most 0.78 %. The same formula as analytics_core.histogram.
CREATE FUNCTION analytics.latency_bin(latency_ms integer) RETURNS smallint
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT ((octave << 6) + (latency_ms >> octave))::smallint
    FROM (SELECT width_bucket(latency_ms, ARRAY[
        128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152,
        4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824
    ])) AS octaves (octave)
$$;

-- Adds two sparse histograms exactly: the union of their bins, ascending, with the summed counts.
CREATE FUNCTION analytics.histogram_add(
    a_bins smallint[], a_counts bigint[], b_bins smallint[], b_counts bigint[], OUT bins smallint[], OUT counts bigint[]
)
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT array_agg(bin ORDER BY bin), array_agg(n ORDER BY bin)
    FROM (
        SELECT bin, sum(n)::bigint AS n
        FROM (
            SELECT * FROM unnest(a_bins, a_counts) AS a (bin, n)
            UNION ALL
            SELECT * FROM unnest(b_bins, b_counts) AS b (bin, n)
        ) AS both_histograms
        GROUP BY bin
    ) AS summed
$$;

-- Everything that the broker accepted before this time is in the rollups. Null while nobody can know: before ingest has
-- ever owned every partition. A batch that waits to be folded holds it back, and so does a partition whose owner is gone.
CREATE FUNCTION analytics.watermark() RETURNS timestamptz
LANGUAGE sql STABLE PARALLEL SAFE
AS $$
    SELECT CASE WHEN count(*) = count(accepted_through) THEN least(
        min(accepted_through),
        (SELECT min(first_chunk_at) FROM analytics.ingestion_batches WHERE folded_at IS NULL)
    ) END
    FROM analytics.stream_offsets
$$;
