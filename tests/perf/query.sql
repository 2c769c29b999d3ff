-- Histograms of 3**0 to 3**12 calls, 16 of each size, to draw from: making one for each row would take an hour.
CREATE UNLOGGED TABLE public.bench_histograms AS
SELECT size, variant, array_agg(bin ORDER BY bin) AS bins, array_agg(calls ORDER BY bin) AS counts
FROM (
    SELECT size, variant, analytics.latency_bin(exp(6.7 + 0.8 * random_normal())::integer) AS bin,
        greatest(1, round(3::numeric ^ size / least(3::numeric ^ size, 20000)))::bigint AS weight, count(*) AS times,
        count(*) * greatest(1, round(3::numeric ^ size / least(3::numeric ^ size, 20000)))::bigint AS calls
    FROM generate_series(0, 12) AS size, generate_series(0, 15) AS variant,
        LATERAL generate_series(1, least(3::numeric ^ size, 20000)::integer) AS call
    GROUP BY size, variant, bin
) AS entries
GROUP BY size, variant;
CREATE UNIQUE INDEX ON public.bench_histograms (size, variant);
ALTER TABLE public.bench_histograms ADD COLUMN calls bigint;
UPDATE public.bench_histograms SET calls = (SELECT sum(one) FROM unnest(counts) AS one);
CREATE UNLOGGED TABLE public.bench_pairs AS
SELECT lpad(to_hex(rank), 8, '0') AS rank_hex, rank, model,
    4000.0 / (rank * model) AS rate,
    least(9, greatest(0, round(log(3, 4000.0 / (rank * model)))))::integer AS size
FROM generate_series(1, %(orgs)s) AS rank, generate_series(1, 40) AS model
WHERE %(full)s OR model <= ceil(40 / sqrt(rank));
ALTER TABLE public.bench_pairs ADD COLUMN org_id uuid;
UPDATE public.bench_pairs SET org_id = ('00000000-0000-4000-8000-' || lpad(to_hex(rank), 12, '0'))::uuid;
ANALYZE public.bench_pairs, public.bench_histograms;
INSERT INTO analytics.freshness_status SELECT org_id, 'provider/model-' || model, %(now)s, %(now)s FROM public.bench_pairs;
INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('bench', 0, %(now)s);
-- next --
INSERT INTO analytics.usage_hourly (
    org_id, bucket_start, model_id, invocations, error_count, timeout_count, throttled_count, input_tokens,
    output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents, latency_bins, latency_counts,
    latency_merged, first_event_at, last_event_at
)
SELECT org_id, hour, 'provider/model-' || model, calls, calls / 50, calls / 200, calls / 100, calls * 1204, calls * 388,
    calls * 204, calls * 88, calls * 689012, bins, counts, cardinality(bins), hour, hour + interval '59 minutes'
FROM (
    SELECT *, floor(random() * 16)::integer AS variant
    FROM generate_series(%(start)s::timestamptz, %(end)s::timestamptz - interval '1 hour', '1 hour') AS hour,
        public.bench_pairs
    WHERE rate >= 1 OR random() < rate
) AS cells
JOIN public.bench_histograms USING (size, variant)
ORDER BY hour;
INSERT INTO analytics.usage_daily (
    org_id, bucket_start, model_id, invocations, error_count, timeout_count, throttled_count, input_tokens,
    output_tokens, cached_input_tokens, reasoning_tokens, cost_microcents, latency_bins, latency_counts,
    latency_merged, first_event_at, last_event_at
)
SELECT org_id, day, 'provider/model-' || model, calls, calls / 50, calls / 200, calls / 100, calls * 1204, calls * 388,
    calls * 204, calls * 88, calls * 689012, bins, counts, cardinality(bins), day, day + interval '1439 minutes'
FROM (
    SELECT *, floor(random() * 16)::integer AS variant
    FROM generate_series(
        date_trunc('day', %(start)s::timestamptz + interval '23:59:59', 'UTC'), %(end)s::timestamptz - interval '1 second', '1 day'
    ) AS day, public.bench_pairs
) AS cells
-- A day has 24 hours' calls: three sizes more.
JOIN public.bench_histograms ON bench_histograms.size = cells.size + 3 AND bench_histograms.variant = cells.variant
ORDER BY day
-- next --
VACUUM ANALYZE analytics.usage_hourly;
VACUUM ANALYZE analytics.usage_daily;
VACUUM ANALYZE analytics.freshness_status;
-- A platform's rollups were written long ago: the disk has nothing left to do for them.
CHECKPOINT
