-- What the migrations add up to. Written by `just schema`, never run.

GRANT USAGE ON SCHEMA analytics TO analytics_export;
GRANT USAGE ON SCHEMA analytics TO analytics_ingest;
GRANT USAGE ON SCHEMA analytics TO analytics_query_api;
GRANT USAGE ON SCHEMA analytics TO analytics_rollup;

CREATE TABLE analytics.audit_heads (
    org_id uuid NOT NULL,
    seq bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_heads_pkey PRIMARY KEY (org_id)
);
COMMENT ON TABLE analytics.audit_heads IS 'The last link of each chain: a chain that is shorter was cut. Written by query-api alone.';
ALTER TABLE analytics.audit_heads ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.audit_heads FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.audit_heads FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT INSERT, SELECT, UPDATE ON analytics.audit_heads TO analytics_query_api;

CREATE TABLE analytics.audit_links (
    org_id uuid NOT NULL,
    seq bigint NOT NULL,
    audit_id bigint NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    key_id text NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT audit_links_pkey PRIMARY KEY (org_id, seq),
    CONSTRAINT audit_links_audit_id_key UNIQUE (audit_id)
);
CREATE TRIGGER audit_links_append_only BEFORE DELETE OR UPDATE ON analytics.audit_links FOR EACH ROW EXECUTE FUNCTION analytics.refuse_audit_change();
COMMENT ON TABLE analytics.audit_links IS 'The chain of each organisation''s audit records, from 1 without gaps. Appended by query-api alone.';
COMMENT ON COLUMN analytics.audit_links.org_id IS 'All zeros: records about no single organisation.';
COMMENT ON COLUMN analytics.audit_links.key_id IS 'Which key the hash was made with; empty: none.';
ALTER TABLE analytics.audit_links ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.audit_links FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.audit_links FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT INSERT, SELECT ON analytics.audit_links TO analytics_query_api;

CREATE TABLE analytics.audit_log (
    audit_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    decided_at timestamp with time zone NOT NULL,
    service text NOT NULL,
    subject text NOT NULL,
    roles text[] NOT NULL,
    org_id uuid,
    action text NOT NULL,
    decision text NOT NULL,
    reason text NOT NULL,
    request_id text NOT NULL,
    method text NOT NULL,
    path text NOT NULL,
    CONSTRAINT audit_log_decision CHECK ((decision = ANY (ARRAY['allow'::text, 'deny'::text])))
);
-- hypertable by decided_at, chunks of 30 days
CREATE INDEX audit_log_org ON analytics.audit_log USING btree (org_id, decided_at DESC, audit_id DESC);
CREATE INDEX audit_log_time ON analytics.audit_log USING btree (decided_at DESC, audit_id DESC);
CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE ON analytics.audit_log FOR EACH ROW EXECUTE FUNCTION analytics.refuse_audit_change();
CREATE TRIGGER audit_log_pending AFTER INSERT ON analytics.audit_log FOR EACH ROW EXECUTE FUNCTION analytics.await_audit_link();
COMMENT ON TABLE analytics.audit_log IS 'Every access decision. Each service appends its own; nobody changes or deletes.';
ALTER TABLE analytics.audit_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY appended_rows ON analytics.audit_log FOR INSERT TO analytics_export, analytics_ingest, analytics_query_api, analytics_rollup WITH CHECK (true);
CREATE POLICY tenant_rows ON analytics.audit_log FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT INSERT ON analytics.audit_log TO analytics_export;
GRANT INSERT ON analytics.audit_log TO analytics_ingest;
GRANT INSERT, SELECT (action), SELECT (audit_id), SELECT (decided_at), SELECT (decision), SELECT (method), SELECT (org_id), SELECT (path), SELECT (reason), SELECT (request_id), SELECT (roles), SELECT (service), SELECT (subject) ON analytics.audit_log TO analytics_query_api;
GRANT INSERT ON analytics.audit_log TO analytics_rollup;

CREATE TABLE analytics.audit_pending (
    audit_id bigint NOT NULL,
    decided_at timestamp with time zone NOT NULL,
    CONSTRAINT audit_pending_pkey PRIMARY KEY (audit_id)
);
COMMENT ON TABLE analytics.audit_pending IS 'Records without a link yet. Filled by a trigger on audit_log, emptied by query-api.';
GRANT DELETE, SELECT ON analytics.audit_pending TO analytics_query_api;

CREATE TABLE analytics.dead_letters (
    dead_letter_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    batch_id bigint NOT NULL,
    stream text NOT NULL,
    partition integer NOT NULL,
    stream_offset bigint NOT NULL,
    reason text NOT NULL,
    field text,
    detail text NOT NULL,
    body bytea NOT NULL,
    dead_lettered_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    message_index integer NOT NULL DEFAULT 0,
    org_id uuid,
    replayed_at timestamp with time zone,
    replayed_by text,
    replayed_body bytea,
    replay_problem text,
    CONSTRAINT dead_letters_replayed CHECK (((replayed_at IS NULL) = (replayed_by IS NULL))),
    CONSTRAINT dead_letters_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES analytics.ingestion_batches(batch_id),
    CONSTRAINT dead_letters_pkey PRIMARY KEY (dead_letter_id),
    CONSTRAINT dead_letters_place UNIQUE (batch_id, stream_offset, message_index)
);
CREATE INDEX dead_letters_position ON analytics.dead_letters USING btree (stream, partition, stream_offset);
COMMENT ON TABLE analytics.dead_letters IS 'Messages that could not be stored, byte for byte. Written by ingest alone.';
COMMENT ON COLUMN analytics.dead_letters.message_index IS 'Place in a message that held several events; 0 otherwise.';
COMMENT ON COLUMN analytics.dead_letters.org_id IS 'The organisation that the body names, if it can be read; not checked by anybody.';
COMMENT ON COLUMN analytics.dead_letters.replayed_at IS 'When the stream confirmed the event that was made of it; null while it waits.';
COMMENT ON COLUMN analytics.dead_letters.replayed_body IS 'What was published in place of body; null when it was body itself.';
COMMENT ON COLUMN analytics.dead_letters.replay_problem IS 'Why the latest attempt to replay it was refused.';
GRANT INSERT, SELECT, UPDATE (replay_problem), UPDATE (replayed_at), UPDATE (replayed_body), UPDATE (replayed_by) ON analytics.dead_letters TO analytics_ingest;
GRANT SELECT ON analytics.dead_letters TO analytics_rollup;

CREATE TABLE analytics.erased_events (
    batch_id bigint NOT NULL,
    erased_count integer NOT NULL,
    CONSTRAINT erased_events_erased_count_check CHECK ((erased_count > 0)),
    CONSTRAINT erased_events_batch_id_fkey FOREIGN KEY (batch_id) REFERENCES analytics.ingestion_batches(batch_id),
    CONSTRAINT erased_events_pkey PRIMARY KEY (batch_id)
);
COMMENT ON TABLE analytics.erased_events IS 'How many of a batch''s stored events were erased since: so many fewer than stored_count are to be found.';
GRANT SELECT ON analytics.erased_events TO analytics_export;
GRANT SELECT ON analytics.erased_events TO analytics_ingest;
GRANT SELECT ON analytics.erased_events TO analytics_query_api;
GRANT SELECT ON analytics.erased_events TO analytics_rollup;

CREATE TABLE analytics.erasures (
    erasure_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    org_id uuid NOT NULL,
    actor_hash bytea,
    requested_by text NOT NULL,
    requested_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    erased_events bigint NOT NULL DEFAULT 0,
    erased_before timestamp with time zone,
    completed_at timestamp with time zone,
    CONSTRAINT erasures_pkey PRIMARY KEY (erasure_id)
);
COMMENT ON TABLE analytics.erasures IS 'Erasures that were asked for. Written by rollup alone.';
COMMENT ON COLUMN analytics.erasures.actor_hash IS 'SHA-256 of the actor, whose name is to be forgotten; null: the whole organisation.';
COMMENT ON COLUMN analytics.erasures.erased_before IS 'Days before this one are done: where an interrupted erasure goes on.';
ALTER TABLE analytics.erasures ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.erasures FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.erasures FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT INSERT, SELECT, UPDATE (completed_at), UPDATE (erased_before), UPDATE (erased_events) ON analytics.erasures TO analytics_rollup;

CREATE TABLE analytics.export_jobs (
    job_id uuid NOT NULL,
    org_id uuid NOT NULL,
    status text NOT NULL DEFAULT 'pending'::text,
    granularity text NOT NULL,
    format text NOT NULL,
    range_start timestamp with time zone NOT NULL,
    range_end timestamp with time zone NOT NULL,
    model_ids text[] NOT NULL DEFAULT '{}'::text[],
    requested_by text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    started_at timestamp with time zone,
    completed_at timestamp with time zone,
    attempt integer NOT NULL DEFAULT 0,
    run_after timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    lease_owner text,
    lease_until timestamp with time zone,
    object_key text,
    row_count bigint,
    size_bytes bigint,
    checksum_sha256 text,
    error_code text,
    error_detail text,
    template text NOT NULL DEFAULT 'full'::text,
    timezone text NOT NULL DEFAULT 'UTC'::text,
    group_by text[] NOT NULL DEFAULT '{model}'::text[],
    filters jsonb NOT NULL DEFAULT '{}'::jsonb,
    parameters_sha256 text,
    totals jsonb,
    watermark timestamp with time zone,
    confidence text,
    revision integer,
    rows_written bigint NOT NULL DEFAULT 0,
    bytes_written bigint NOT NULL DEFAULT 0,
    idempotency_key text,
    body_sha256 text,
    schedule_id uuid,
    expires_at timestamp with time zone,
    cleaned_at timestamp with time zone,
    traceparent text,
    webhook_url text,
    webhook_attempts integer NOT NULL DEFAULT 0,
    webhook_run_after timestamp with time zone,
    webhook_ended_at timestamp with time zone,
    webhook_error text,
    uploads_swept_at timestamp with time zone,
    CONSTRAINT export_jobs_confidence CHECK ((confidence = ANY (ARRAY['estimated'::text, 'finalized'::text]))),
    CONSTRAINT export_jobs_ended CHECK (((status = ANY (ARRAY['pending'::text, 'running'::text])) OR (completed_at IS NOT NULL))),
    CONSTRAINT export_jobs_granularity CHECK ((granularity = ANY (ARRAY['hourly'::text, 'daily'::text, 'monthly'::text, 'events'::text]))),
    CONSTRAINT export_jobs_lease CHECK (((status <> 'running'::text) OR ((lease_owner IS NOT NULL) AND (lease_until IS NOT NULL)))),
    CONSTRAINT export_jobs_range CHECK ((range_start < range_end)),
    CONSTRAINT export_jobs_result CHECK (((status <> 'succeeded'::text) OR ((object_key IS NOT NULL) AND (row_count IS NOT NULL) AND (checksum_sha256 IS NOT NULL) AND (completed_at IS NOT NULL)))),
    CONSTRAINT export_jobs_status CHECK ((status = ANY (ARRAY['pending'::text, 'running'::text, 'succeeded'::text, 'failed'::text, 'canceled'::text, 'expired'::text]))),
    CONSTRAINT export_jobs_schedule_id_fkey FOREIGN KEY (schedule_id) REFERENCES analytics.export_schedules(schedule_id),
    CONSTRAINT export_jobs_pkey PRIMARY KEY (job_id)
);
CREATE UNIQUE INDEX export_jobs_idempotency ON analytics.export_jobs USING btree (org_id, idempotency_key) WHERE (idempotency_key IS NOT NULL);
CREATE INDEX export_jobs_kept ON analytics.export_jobs USING btree (expires_at) WHERE (status = 'succeeded'::text);
CREATE INDEX export_jobs_open ON analytics.export_jobs USING btree (run_after) WHERE (status = ANY (ARRAY['pending'::text, 'running'::text]));
CREATE INDEX export_jobs_org ON analytics.export_jobs USING btree (org_id, created_at DESC, job_id DESC);
CREATE UNIQUE INDEX export_jobs_period ON analytics.export_jobs USING btree (schedule_id, range_start) WHERE (schedule_id IS NOT NULL);
CREATE INDEX export_jobs_revisions ON analytics.export_jobs USING btree (org_id, parameters_sha256, revision) WHERE (revision IS NOT NULL);
CREATE INDEX export_jobs_unclean ON analytics.export_jobs USING btree (completed_at) WHERE ((status = ANY (ARRAY['failed'::text, 'canceled'::text, 'expired'::text])) AND (cleaned_at IS NULL));
CREATE INDEX export_jobs_unswept ON analytics.export_jobs USING btree (completed_at) WHERE ((completed_at IS NOT NULL) AND (uploads_swept_at IS NULL));
CREATE INDEX export_jobs_webhooks ON analytics.export_jobs USING btree (webhook_run_after) WHERE ((webhook_url IS NOT NULL) AND (webhook_ended_at IS NULL) AND (completed_at IS NOT NULL));
CREATE TRIGGER export_jobs_step BEFORE UPDATE ON analytics.export_jobs FOR EACH ROW EXECUTE FUNCTION analytics.check_export_step();
COMMENT ON TABLE analytics.export_jobs IS 'Exports asked for, under way and done. Written by export alone.';
COMMENT ON COLUMN analytics.export_jobs.object_key IS 'Where the file lies or would lie; given when the job is created.';
COMMENT ON COLUMN analytics.export_jobs.filters IS 'Lists of accepted values by parameter name; models are in model_ids.';
COMMENT ON COLUMN analytics.export_jobs.parameters_sha256 IS 'Equal for exports that ask for the same thing: their files are revisions of each other.';
COMMENT ON COLUMN analytics.export_jobs.totals IS 'Sums over the rows of the file, from the snapshot that it was written from.';
COMMENT ON COLUMN analytics.export_jobs.watermark IS 'analytics.watermark() of that snapshot; null is unknown.';
COMMENT ON COLUMN analytics.export_jobs.cleaned_at IS 'Since when nothing of a failed, canceled or expired job is left in the storage; null while that is unknown.';
COMMENT ON COLUMN analytics.export_jobs.webhook_ended_at IS 'When the webhook was delivered or, with webhook_error, given up; null while it is to be called.';
COMMENT ON COLUMN analytics.export_jobs.uploads_swept_at IS 'When uploads that were left of an ended job were looked for, long after any of its workers; null: not yet.';
ALTER TABLE analytics.export_jobs ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.export_jobs FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.export_jobs FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT INSERT, SELECT, UPDATE ON analytics.export_jobs TO analytics_export;
GRANT SELECT ON analytics.export_jobs TO analytics_ingest;
GRANT SELECT ON analytics.export_jobs TO analytics_query_api;
GRANT SELECT ON analytics.export_jobs TO analytics_rollup;

CREATE TABLE analytics.export_schedules (
    schedule_id uuid NOT NULL,
    org_id uuid NOT NULL,
    name text NOT NULL,
    cron text NOT NULL,
    timezone text NOT NULL,
    question jsonb NOT NULL,
    prefix text NOT NULL,
    webhook_url text,
    enabled boolean NOT NULL DEFAULT true,
    created_by text NOT NULL,
    created_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    deleted_at timestamp with time zone,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    periods_skipped bigint NOT NULL DEFAULT 0,
    last_job_id uuid,
    last_error text,
    updated_by text,
    CONSTRAINT export_schedules_period CHECK ((period_start < period_end)),
    CONSTRAINT export_schedules_pkey PRIMARY KEY (schedule_id)
);
CREATE INDEX export_schedules_due ON analytics.export_schedules USING btree (period_end) WHERE (enabled AND (deleted_at IS NULL));
CREATE UNIQUE INDEX export_schedules_name ON analytics.export_schedules USING btree (org_id, name) WHERE (deleted_at IS NULL);
COMMENT ON TABLE analytics.export_schedules IS 'Exports made for each period of a calendar. Written by export alone.';
COMMENT ON COLUMN analytics.export_schedules.question IS 'What to export, as in the body of an export, without its range.';
COMMENT ON COLUMN analytics.export_schedules.period_start IS 'The next period to export, up to period_end: moved on in the transaction that creates the period''s job.';
COMMENT ON COLUMN analytics.export_schedules.updated_by IS 'Who has changed or deleted it last: its next exports are made in this name. Null: nobody since created_by.';
ALTER TABLE analytics.export_schedules ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.export_schedules FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.export_schedules FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT INSERT, SELECT, UPDATE ON analytics.export_schedules TO analytics_export;
GRANT SELECT ON analytics.export_schedules TO analytics_ingest;
GRANT SELECT ON analytics.export_schedules TO analytics_query_api;
GRANT SELECT ON analytics.export_schedules TO analytics_rollup;

CREATE TABLE analytics.freshness_status (
    org_id uuid NOT NULL,
    model_id text NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    last_rollup_at timestamp with time zone NOT NULL,
    traceparent text,
    CONSTRAINT freshness_status_pkey PRIMARY KEY (org_id, model_id)
) WITH (fillfactor=50);
COMMENT ON TABLE analytics.freshness_status IS 'Newest folded event of each org and model. Written by rollup alone.';
ALTER TABLE analytics.freshness_status ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.freshness_status FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.freshness_status FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT ON analytics.freshness_status TO analytics_export;
GRANT SELECT ON analytics.freshness_status TO analytics_ingest;
GRANT SELECT ON analytics.freshness_status TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.freshness_status TO analytics_rollup;

CREATE TABLE analytics.ingest_owners (
    stream text NOT NULL,
    owner text NOT NULL,
    alive_until timestamp with time zone NOT NULL,
    CONSTRAINT ingest_owners_pkey PRIMARY KEY (stream, owner)
);
COMMENT ON TABLE analytics.ingest_owners IS 'Ingest processes that are well, as they announce themselves. Only balance depends on it, never who may write.';
GRANT SELECT ON analytics.ingest_owners TO analytics_export;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.ingest_owners TO analytics_ingest;
GRANT SELECT ON analytics.ingest_owners TO analytics_query_api;
GRANT SELECT ON analytics.ingest_owners TO analytics_rollup;

CREATE TABLE analytics.ingestion_batches (
    batch_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    stream text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    last_offset bigint NOT NULL,
    received_count integer NOT NULL,
    stored_count integer NOT NULL,
    duplicate_count integer NOT NULL,
    conflict_count integer NOT NULL,
    rejected_count integer NOT NULL,
    occurred_min timestamp with time zone,
    occurred_max timestamp with time zone,
    late boolean NOT NULL,
    first_chunk_at timestamp with time zone NOT NULL,
    committed_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    folded_at timestamp with time zone,
    dimensions_folded_at timestamp with time zone,
    traceparent text,
    rejected_tail_count integer NOT NULL DEFAULT 0,
    CONSTRAINT ingestion_batches_bounds CHECK (((stored_count = 0) OR (occurred_min <= occurred_max))),
    CONSTRAINT ingestion_batches_conflicts_are_duplicates CHECK ((conflict_count <= duplicate_count)),
    CONSTRAINT ingestion_batches_conservation CHECK ((received_count = ((stored_count + duplicate_count) + rejected_count))),
    CONSTRAINT ingestion_batches_pkey PRIMARY KEY (batch_id)
);
CREATE INDEX ingestion_batches_position ON analytics.ingestion_batches USING btree (stream, partition, last_offset);
CREATE INDEX ingestion_batches_unfolded ON analytics.ingestion_batches USING btree (batch_id) WHERE (folded_at IS NULL);
CREATE INDEX ingestion_batches_without_dimensions ON analytics.ingestion_batches USING btree (batch_id) WHERE (dimensions_folded_at IS NULL);
COMMENT ON TABLE analytics.ingestion_batches IS 'One row per committed batch of stream messages. Inserted by ingest; rollup sets folded_at, nothing else.';
COMMENT ON COLUMN analytics.ingestion_batches.duplicate_count IS 'Events already stored, conflicts (same id, other body) included.';
COMMENT ON COLUMN analytics.ingestion_batches.occurred_min IS 'Bounds of the stored events; null when none was stored.';
COMMENT ON COLUMN analytics.ingestion_batches.first_chunk_at IS 'When the broker accepted the oldest message of the batch.';
COMMENT ON COLUMN analytics.ingestion_batches.dimensions_folded_at IS 'When the batch was added to the families detail, actor and quarter; never before folded_at.';
COMMENT ON COLUMN analytics.ingestion_batches.rejected_tail_count IS 'With how many dead letters in a row the batch ends.';
GRANT SELECT ON analytics.ingestion_batches TO analytics_export;
GRANT INSERT, SELECT ON analytics.ingestion_batches TO analytics_ingest;
GRANT SELECT ON analytics.ingestion_batches TO analytics_query_api;
GRANT SELECT, UPDATE (dimensions_folded_at), UPDATE (folded_at) ON analytics.ingestion_batches TO analytics_rollup;

CREATE TABLE analytics.retained (
    table_name text NOT NULL,
    dropped_before timestamp with time zone NOT NULL,
    CONSTRAINT retained_pkey PRIMARY KEY (table_name)
);
COMMENT ON TABLE analytics.retained IS 'What retention has dropped: everything of a table before a time. Written by drop_oldest_chunk alone.';
GRANT SELECT ON analytics.retained TO analytics_export;
GRANT SELECT ON analytics.retained TO analytics_ingest;
GRANT SELECT ON analytics.retained TO analytics_query_api;
GRANT SELECT ON analytics.retained TO analytics_rollup;

CREATE TABLE analytics.rollup_progress (
    family text NOT NULL,
    daily_through timestamp with time zone NOT NULL,
    CONSTRAINT rollup_progress_midnight CHECK ((daily_through = date_trunc('day'::text, daily_through, 'UTC'::text))),
    CONSTRAINT rollup_progress_pkey PRIMARY KEY (family)
);
COMMENT ON TABLE analytics.rollup_progress IS 'How far the daily tables of detail and actor are. Written by rollup alone.';
COMMENT ON COLUMN analytics.rollup_progress.daily_through IS 'The daily table has every day before this one, late events included, and nothing of it or later. Only grows.';
GRANT SELECT ON analytics.rollup_progress TO analytics_export;
GRANT SELECT ON analytics.rollup_progress TO analytics_ingest;
GRANT SELECT ON analytics.rollup_progress TO analytics_query_api;
GRANT SELECT, UPDATE (daily_through) ON analytics.rollup_progress TO analytics_rollup;

CREATE TABLE analytics.schema_version (
    version_num character varying(32) NOT NULL,
    CONSTRAINT schema_version_pkc PRIMARY KEY (version_num)
);
GRANT SELECT ON analytics.schema_version TO analytics_export;
GRANT SELECT ON analytics.schema_version TO analytics_ingest;
GRANT SELECT ON analytics.schema_version TO analytics_query_api;
GRANT SELECT ON analytics.schema_version TO analytics_rollup;

CREATE TABLE analytics.stream_gaps (
    gap_id bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
    stream text NOT NULL,
    partition integer NOT NULL,
    first_offset bigint NOT NULL,
    end_offset bigint NOT NULL,
    reason text NOT NULL,
    after_at timestamp with time zone,
    before_at timestamp with time zone,
    detected_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    CONSTRAINT stream_gaps_bounds CHECK ((first_offset < end_offset)),
    CONSTRAINT stream_gaps_reason CHECK ((reason = ANY (ARRAY['retention'::text, 'reset'::text]))),
    CONSTRAINT stream_gaps_pkey PRIMARY KEY (gap_id)
);
COMMENT ON TABLE analytics.stream_gaps IS 'Messages that ingest never read: removed by retention before, or skipped by an operator. Written with the position that passes them.';
COMMENT ON COLUMN analytics.stream_gaps.end_offset IS 'The first offset that was read again.';
COMMENT ON COLUMN analytics.stream_gaps.after_at IS 'The missing messages were accepted after this time and before before_at, as far as known.';
GRANT SELECT ON analytics.stream_gaps TO analytics_export;
GRANT INSERT, SELECT ON analytics.stream_gaps TO analytics_ingest;
GRANT SELECT ON analytics.stream_gaps TO analytics_query_api;
GRANT SELECT ON analytics.stream_gaps TO analytics_rollup;

CREATE TABLE analytics.stream_offsets (
    stream text NOT NULL,
    partition integer NOT NULL,
    next_offset bigint NOT NULL DEFAULT 0,
    epoch bigint NOT NULL DEFAULT 0,
    owner text,
    lease_until timestamp with time zone,
    last_chunk_at timestamp with time zone,
    accepted_through timestamp with time zone,
    updated_at timestamp with time zone NOT NULL DEFAULT clock_timestamp(),
    stopped_at timestamp with time zone,
    stopped_because text,
    stopped_through bigint,
    dead_letters_through bigint,
    retired_at timestamp with time zone,
    CONSTRAINT stream_offsets_stop CHECK ((num_nulls(stopped_at, stopped_because, stopped_through) = ANY (ARRAY[0, 3]))),
    CONSTRAINT stream_offsets_pkey PRIMARY KEY (stream, partition)
);
COMMENT ON TABLE analytics.stream_offsets IS 'Where ingest continues in each partition, and who owns it. next_offset moves only together with the events before it.';
COMMENT ON COLUMN analytics.stream_offsets.epoch IS 'Fencing token: a new owner raises it, and writes of an older epoch change no row.';
COMMENT ON COLUMN analytics.stream_offsets.accepted_through IS 'Every message that the broker accepted before this time is committed in usage_events or dead_letters.';
COMMENT ON COLUMN analytics.stream_offsets.stopped_through IS 'The last message that was looked at when the partition was stopped.';
COMMENT ON COLUMN analytics.stream_offsets.dead_letters_through IS 'An operator has decided: up to this offset every bad message becomes a dead letter, however many there are.';
COMMENT ON COLUMN analytics.stream_offsets.retired_at IS 'Nobody reads this partition any more, by an operator''s word; whoever acquires it again clears this.';
GRANT SELECT ON analytics.stream_offsets TO analytics_export;
GRANT INSERT, SELECT, UPDATE ON analytics.stream_offsets TO analytics_ingest;
GRANT SELECT ON analytics.stream_offsets TO analytics_query_api;
GRANT SELECT ON analytics.stream_offsets TO analytics_rollup;

CREATE TABLE analytics.usage_actor_daily (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    series uuid NOT NULL,
    actor_id text NOT NULL,
    model_id text NOT NULL,
    status text NOT NULL,
    error_code text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_actor_daily_pkey PRIMARY KEY (org_id, bucket_start, series)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 90 days
COMMENT ON TABLE analytics.usage_actor_daily IS 'The same per UTC day, for the days before rollup_progress.daily_through. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_actor_daily.series IS 'analytics.series() of the four columns that follow: together they can be longer than an index entry may be.';
COMMENT ON COLUMN analytics.usage_actor_daily.actor_id IS 'Empty when the event had none; so is error_code.';
ALTER TABLE analytics.usage_actor_daily ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_actor_daily FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_actor_daily FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (actor_id), SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_actor_daily TO analytics_export;
GRANT SELECT ON analytics.usage_actor_daily TO analytics_ingest;
GRANT SELECT (actor_id), SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_actor_daily TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_actor_daily TO analytics_rollup;

CREATE TABLE analytics.usage_actor_hourly (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    series uuid NOT NULL,
    actor_id text NOT NULL,
    model_id text NOT NULL,
    status text NOT NULL,
    error_code text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_actor_hourly_pkey PRIMARY KEY (org_id, bucket_start, series)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 7 days
COMMENT ON TABLE analytics.usage_actor_hourly IS 'Usage per org, UTC hour, actor, model, status and error code. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_actor_hourly.series IS 'analytics.series() of the four columns that follow: together they can be longer than an index entry may be.';
COMMENT ON COLUMN analytics.usage_actor_hourly.actor_id IS 'Empty when the event had none; so is error_code.';
ALTER TABLE analytics.usage_actor_hourly ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_actor_hourly FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_actor_hourly FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (actor_id), SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_actor_hourly TO analytics_export;
GRANT SELECT ON analytics.usage_actor_hourly TO analytics_ingest;
GRANT SELECT (actor_id), SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_actor_hourly TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_actor_hourly TO analytics_rollup;

CREATE TABLE analytics.usage_daily (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    model_id text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_daily_pkey PRIMARY KEY (org_id, bucket_start, model_id)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 180 days
COMMENT ON TABLE analytics.usage_daily IS 'Usage per org, model and UTC day. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_daily.latency_bins IS 'Bins of the log-linear latency histogram; latency_counts has their calls. A bin may come several times: its calls are the sum.';
COMMENT ON COLUMN analytics.usage_daily.latency_merged IS 'So many entries at the front have each bin once, ascending; those behind were added since.';
COMMENT ON COLUMN analytics.usage_daily.revision IS 'How often the bucket changed by events that came after it was finalized; revised_at is the last time.';
ALTER TABLE analytics.usage_daily ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_daily FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_daily FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_daily TO analytics_export;
GRANT SELECT ON analytics.usage_daily TO analytics_ingest;
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_daily TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_daily TO analytics_rollup;

CREATE TABLE analytics.usage_detail_daily (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    series uuid NOT NULL,
    model_id text NOT NULL,
    client_id text NOT NULL,
    project text NOT NULL,
    status text NOT NULL,
    error_code text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_detail_daily_pkey PRIMARY KEY (org_id, bucket_start, series)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 90 days
COMMENT ON TABLE analytics.usage_detail_daily IS 'The same per UTC day, for the days before rollup_progress.daily_through. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_detail_daily.series IS 'analytics.series() of the five columns that follow: together they can be longer than an index entry may be.';
COMMENT ON COLUMN analytics.usage_detail_daily.client_id IS 'Empty when the event had none; so are project and error_code.';
ALTER TABLE analytics.usage_detail_daily ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_detail_daily FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_detail_daily FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (client_id), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (project), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_detail_daily TO analytics_export;
GRANT SELECT ON analytics.usage_detail_daily TO analytics_ingest;
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (client_id), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (project), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_detail_daily TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_detail_daily TO analytics_rollup;

CREATE TABLE analytics.usage_detail_hourly (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    series uuid NOT NULL,
    model_id text NOT NULL,
    client_id text NOT NULL,
    project text NOT NULL,
    status text NOT NULL,
    error_code text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_detail_hourly_pkey PRIMARY KEY (org_id, bucket_start, series)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 7 days
COMMENT ON TABLE analytics.usage_detail_hourly IS 'Usage per org, UTC hour, model, client, project, status and error code. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_detail_hourly.series IS 'analytics.series() of the five columns that follow: together they can be longer than an index entry may be.';
COMMENT ON COLUMN analytics.usage_detail_hourly.client_id IS 'Empty when the event had none; so are project and error_code.';
ALTER TABLE analytics.usage_detail_hourly ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_detail_hourly FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_detail_hourly FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (client_id), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (project), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_detail_hourly TO analytics_export;
GRANT SELECT ON analytics.usage_detail_hourly TO analytics_ingest;
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (client_id), SELECT (cost_microcents), SELECT (error_code), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (project), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (series), SELECT (status), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_detail_hourly TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_detail_hourly TO analytics_rollup;

CREATE TABLE analytics.usage_events (
    org_id uuid NOT NULL,
    event_id uuid NOT NULL,
    occurred_at timestamp with time zone NOT NULL,
    batch_id bigint NOT NULL,
    body_hash bigint,
    cost_microcents bigint NOT NULL,
    latency_ms integer NOT NULL,
    input_tokens integer NOT NULL,
    output_tokens integer NOT NULL,
    cached_input_tokens integer NOT NULL,
    reasoning_tokens integer NOT NULL,
    status text NOT NULL,
    model_id text NOT NULL,
    actor_id text,
    client_id text,
    error_code text,
    metadata jsonb,
    project text,
    metadata_json text,
    CONSTRAINT usage_events_not_negative CHECK ((LEAST(cost_microcents, (latency_ms)::bigint, (input_tokens)::bigint, (output_tokens)::bigint, (cached_input_tokens)::bigint, (reasoning_tokens)::bigint) >= 0)),
    CONSTRAINT usage_events_status CHECK ((status = ANY (ARRAY['success'::text, 'error'::text, 'timeout'::text, 'throttled'::text])))
);
-- hypertable by occurred_at, chunks of 1 day
CREATE INDEX usage_events_batch ON analytics.usage_events USING btree (batch_id);
CREATE UNIQUE INDEX usage_events_identity ON analytics.usage_events USING btree (org_id, event_id, occurred_at);
COMMENT ON TABLE analytics.usage_events IS 'One row per LLM call; identity is (org_id, event_id). Written by ingest alone.';
COMMENT ON COLUMN analytics.usage_events.body_hash IS 'No longer written or read: bodies are compared by their columns.';
COMMENT ON COLUMN analytics.usage_events.cost_microcents IS '1 cent = 1,000,000 micro-cents.';
COMMENT ON COLUMN analytics.usage_events.metadata IS 'Of rows from before metadata_json; null since.';
COMMENT ON COLUMN analytics.usage_events.project IS 'Of metadata_json, at most 200 characters; null when it has none.';
COMMENT ON COLUMN analytics.usage_events.metadata_json IS 'JSON object of strings in one spelling: equal metadata is equal text.';
GRANT INSERT, SELECT ON analytics.usage_events TO analytics_ingest;
GRANT SELECT ON analytics.usage_events TO analytics_rollup;

CREATE TABLE analytics.usage_hourly (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    model_id text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_hourly_pkey PRIMARY KEY (org_id, bucket_start, model_id)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 30 days
COMMENT ON TABLE analytics.usage_hourly IS 'Usage per org, model and UTC hour. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_hourly.latency_bins IS 'Bins of the log-linear latency histogram; latency_counts has their calls. A bin may come several times: its calls are the sum.';
COMMENT ON COLUMN analytics.usage_hourly.latency_merged IS 'So many entries at the front have each bin once, ascending; those behind were added since.';
COMMENT ON COLUMN analytics.usage_hourly.revision IS 'How often the bucket changed by events that came after it was finalized; revised_at is the last time.';
ALTER TABLE analytics.usage_hourly ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_hourly FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_hourly FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_hourly TO analytics_export;
GRANT SELECT ON analytics.usage_hourly TO analytics_ingest;
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_hourly TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_hourly TO analytics_rollup;

CREATE TABLE analytics.usage_quarter_hourly (
    org_id uuid NOT NULL,
    bucket_start timestamp with time zone NOT NULL,
    model_id text NOT NULL,
    invocations bigint NOT NULL,
    error_count bigint NOT NULL,
    timeout_count bigint NOT NULL,
    throttled_count bigint NOT NULL,
    input_tokens bigint NOT NULL,
    output_tokens bigint NOT NULL,
    cached_input_tokens bigint NOT NULL,
    reasoning_tokens bigint NOT NULL,
    cost_microcents bigint NOT NULL,
    latency_bins smallint[] NOT NULL,
    latency_counts bigint[] NOT NULL,
    latency_merged smallint NOT NULL DEFAULT 0,
    first_event_at timestamp with time zone NOT NULL,
    last_event_at timestamp with time zone NOT NULL,
    revision integer NOT NULL DEFAULT 0,
    revised_at timestamp with time zone,
    CONSTRAINT usage_quarter_hourly_pkey PRIMARY KEY (org_id, bucket_start, model_id)
) WITH (fillfactor=75);
-- hypertable by bucket_start, chunks of 7 days
COMMENT ON TABLE analytics.usage_quarter_hourly IS 'Usage per org, model and 15 minutes. Written by rollup alone.';
COMMENT ON COLUMN analytics.usage_quarter_hourly.latency_bins IS 'Bins of the log-linear latency histogram; latency_counts has their calls. A bin may come several times: its calls are the sum.';
COMMENT ON COLUMN analytics.usage_quarter_hourly.latency_merged IS 'So many entries at the front have each bin once, ascending; those behind were added since.';
COMMENT ON COLUMN analytics.usage_quarter_hourly.revision IS 'How often the bucket changed by events that came after it was finalized; revised_at is the last time.';
ALTER TABLE analytics.usage_quarter_hourly ENABLE ROW LEVEL SECURITY;
CREATE POLICY pipeline_rows ON analytics.usage_quarter_hourly FOR ALL TO analytics_ingest, analytics_rollup USING (true);
CREATE POLICY tenant_rows ON analytics.usage_quarter_hourly FOR ALL TO analytics_export, analytics_query_api USING (((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org)));
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_quarter_hourly TO analytics_export;
GRANT SELECT ON analytics.usage_quarter_hourly TO analytics_ingest;
GRANT SELECT (bucket_start), SELECT (cached_input_tokens), SELECT (cost_microcents), SELECT (error_count), SELECT (first_event_at), SELECT (input_tokens), SELECT (invocations), SELECT (last_event_at), SELECT (latency_bins), SELECT (latency_counts), SELECT (latency_merged), SELECT (model_id), SELECT (org_id), SELECT (output_tokens), SELECT (reasoning_tokens), SELECT (revised_at), SELECT (revision), SELECT (throttled_count), SELECT (timeout_count) ON analytics.usage_quarter_hourly TO analytics_query_api;
GRANT DELETE, INSERT, SELECT, UPDATE ON analytics.usage_quarter_hourly TO analytics_rollup;

CREATE VIEW analytics.visible_events WITH (security_barrier=true) AS
 SELECT org_id,
    event_id,
    occurred_at,
    batch_id,
    cost_microcents,
    latency_ms,
    input_tokens,
    output_tokens,
    cached_input_tokens,
    reasoning_tokens,
    status,
    model_id,
    actor_id,
    client_id,
    error_code,
    COALESCE(metadata, (metadata_json)::jsonb) AS metadata,
    COALESCE(project, analytics.project(metadata)) AS project
   FROM analytics.usage_events
  WHERE ((org_id = ( SELECT analytics.current_org() AS current_org)) OR ( SELECT analytics.sees_every_org() AS sees_every_org));
COMMENT ON VIEW analytics.visible_events IS 'The raw events of the transaction''s organisation: what query-api and export read of them.';
GRANT SELECT ON analytics.visible_events TO analytics_export;
GRANT SELECT ON analytics.visible_events TO analytics_query_api;

CREATE AGGREGATE analytics.array_concat(anycompatiblearray) (SFUNC = array_cat, STYPE = anycompatiblearray);

CREATE OR REPLACE FUNCTION analytics.await_audit_link()
 RETURNS trigger
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog'
AS $function$
BEGIN
    INSERT INTO analytics.audit_pending (audit_id, decided_at) VALUES (NEW.audit_id, NEW.decided_at);
    RETURN NULL;
END
$function$;

CREATE AGGREGATE analytics.bigint_sum(bigint) (SFUNC = int8pl, STYPE = bigint, INITCOND = '0', COMBINEFUNC = int8pl);

CREATE OR REPLACE FUNCTION analytics.check_export_step()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    IF NEW.status <> OLD.status AND (OLD.status, NEW.status) NOT IN (
        ('pending', 'running'), ('pending', 'canceled'), ('running', 'pending'), ('running', 'succeeded'),
        ('running', 'failed'), ('running', 'canceled'), ('succeeded', 'expired')
    ) THEN
        RAISE EXCEPTION 'export job %: no step from % to %', OLD.job_id, OLD.status, NEW.status
            USING ERRCODE = 'check_violation', CONSTRAINT = 'export_jobs_step';
    END IF;
    IF (OLD.job_id, OLD.org_id, OLD.granularity, OLD.format, OLD.range_start, OLD.range_end, OLD.model_ids, OLD.template,
        OLD.timezone, OLD.group_by, OLD.requested_by, OLD.idempotency_key, OLD.schedule_id)
        IS DISTINCT FROM
       (NEW.job_id, NEW.org_id, NEW.granularity, NEW.format, NEW.range_start, NEW.range_end, NEW.model_ids, NEW.template,
        NEW.timezone, NEW.group_by, NEW.requested_by, NEW.idempotency_key, NEW.schedule_id)
       OR NEW.filters <> OLD.filters AND NOT coalesce(
        OLD.status NOT IN ('pending', 'running') AND NEW.filters - 'actorId' = OLD.filters - 'actorId'
        AND NEW.filters -> 'actorId' ? 'erased'
        AND (NEW.filters -> 'actorId') - 'erased' <@ (OLD.filters -> 'actorId'),
        false
    )
    THEN
        RAISE EXCEPTION 'export job %: what was asked for does not change', OLD.job_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'export_jobs_step';
    END IF;
    IF OLD.status NOT IN ('pending', 'running') AND
       (OLD.object_key, OLD.row_count, OLD.size_bytes, OLD.checksum_sha256, OLD.totals, OLD.revision, OLD.completed_at)
        IS DISTINCT FROM
       (NEW.object_key, NEW.row_count, NEW.size_bytes, NEW.checksum_sha256, NEW.totals, NEW.revision, NEW.completed_at)
    THEN
        RAISE EXCEPTION 'export job %: its result does not change', OLD.job_id
            USING ERRCODE = 'check_violation', CONSTRAINT = 'export_jobs_step';
    END IF;
    RETURN NEW;
END
$function$;

CREATE OR REPLACE FUNCTION analytics.current_org()
 RETURNS uuid
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$ SELECT nullif(current_setting('app.org_id', true), '')::uuid $function$;

CREATE OR REPLACE FUNCTION analytics.dimensions_watermark()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT CASE WHEN count(*) > 0 AND count(*) = count(accepted_through) THEN least(
        min(accepted_through),
        (SELECT min(first_chunk_at) FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL)
    ) END
    FROM analytics.stream_offsets
    WHERE retired_at IS NULL
$function$;

CREATE OR REPLACE FUNCTION analytics.drop_oldest_chunk(dropped_table text, age interval)
 RETURNS text
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog'
 SET lock_timeout TO '200ms'
AS $function$
DECLARE
    oldest record;
BEGIN
    IF dropped_table NOT IN ('usage_events', 'audit_log') AND dropped_table !~ '^usage_([a-z]+_)?(hourly|daily)$' THEN
        RAISE EXCEPTION 'analytics.% has no retention', dropped_table USING ERRCODE = 'insufficient_privilege';
    END IF;
    IF age < (CASE dropped_table WHEN 'audit_log' THEN INTERVAL '30 days' ELSE INTERVAL '2 days' END) THEN
        RAISE EXCEPTION 'a retention of % is too short for analytics.%', age, dropped_table
            USING ERRCODE = 'invalid_parameter_value';
    END IF;
    SELECT format('%I.%I', chunk_schema, chunk_name) AS name, range_end INTO oldest
    FROM timescaledb_information.chunks
    WHERE hypertable_schema = 'analytics' AND hypertable_name = dropped_table AND range_end <= now() - age
    ORDER BY range_end
    LIMIT 1;
    IF NOT FOUND THEN
        RETURN NULL;
    END IF;
    IF dropped_table = 'usage_events' AND EXISTS (
        SELECT FROM analytics.ingestion_batches
        WHERE (folded_at IS NULL OR dimensions_folded_at IS NULL) AND occurred_min < oldest.range_end
    ) THEN
        RAISE EXCEPTION '% has events that are not folded', oldest.name USING ERRCODE = 'object_in_use';
    END IF;
    IF dropped_table = 'audit_log' THEN
        IF EXISTS (SELECT FROM analytics.audit_pending WHERE decided_at < oldest.range_end) THEN
            RAISE EXCEPTION '% has records without a link', oldest.name USING ERRCODE = 'object_in_use';
        END IF;
        INSERT INTO analytics.audit_log
            (decided_at, service, subject, roles, action, decision, reason, request_id, method, path)
        VALUES (
            clock_timestamp(), 'analytics-rollup', 'retention', '{}', 'audit:expire', 'allow',
            format('records are kept for %s', age), gen_random_uuid()::text, 'JOB',
            to_char(oldest.range_end AT TIME ZONE 'UTC', '"/audit/before/"YYYY-MM-DD"T"HH24:MI:SS"Z"')
        );
    END IF;
    PERFORM public.drop_chunks(format('analytics.%I', dropped_table)::regclass, older_than => oldest.range_end);
    INSERT INTO analytics.retained AS stored (table_name, dropped_before) VALUES (dropped_table, oldest.range_end)
    ON CONFLICT (table_name) DO UPDATE SET dropped_before = greatest(stored.dropped_before, EXCLUDED.dropped_before);
    RETURN oldest.name;
END
$function$;

CREATE OR REPLACE FUNCTION analytics.erase_dead_letters(erasure bigint, only_actor text)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog'
AS $function$
DECLARE
    erased integer;
    escaped text := analytics.json_ascii(only_actor);
    quoted text := substr(to_json(only_actor)::text, 2, length(to_json(only_actor)::text) - 2);
BEGIN
    DELETE FROM analytics.dead_letters AS letter
    USING analytics.erasures AS wanted
    WHERE wanted.erasure_id = erasure AND wanted.completed_at IS NULL
        AND wanted.actor_hash IS NOT DISTINCT FROM sha256(convert_to(only_actor, 'UTF8'))
        AND (
            letter.org_id = wanted.org_id
            OR letter.org_id IS NULL
            AND position(wanted.org_id::text IN lower(encode(letter.body || coalesce(letter.replayed_body, ''), 'escape'))) > 0
        )
        AND (
            only_actor IS NULL
            OR position(convert_to(only_actor, 'UTF8') IN letter.body || coalesce(letter.replayed_body, '')) > 0
            OR position(convert_to(quoted, 'UTF8') IN letter.body || coalesce(letter.replayed_body, '')) > 0
            -- The digits of an escape may be of either case.
            OR escaped <> quoted
            AND position(
                lower(encode(convert_to(escaped, 'UTF8'), 'escape'))
                IN lower(encode(letter.body || coalesce(letter.replayed_body, ''), 'escape'))
            ) > 0
        );
    GET DIAGNOSTICS erased = ROW_COUNT;
    RETURN erased;
END
$function$;

CREATE OR REPLACE FUNCTION analytics.erase_events(erasure bigint, only_actor text, range_start timestamp with time zone, range_end timestamp with time zone, most integer)
 RETURNS integer
 LANGUAGE plpgsql
 SECURITY DEFINER
 SET search_path TO 'pg_catalog'
 SET plan_cache_mode TO 'force_custom_plan'
AS $function$
DECLARE
    wanted record;
    erased integer;
BEGIN
    SELECT org_id, actor_hash INTO wanted FROM analytics.erasures WHERE erasure_id = erasure AND completed_at IS NULL;
    IF NOT FOUND OR wanted.actor_hash IS DISTINCT FROM sha256(convert_to(only_actor, 'UTF8')) THEN
        RAISE EXCEPTION 'erasure % does not ask for this', erasure USING ERRCODE = 'insufficient_privilege';
    END IF;
    WITH doomed AS MATERIALIZED (
        SELECT event_id, occurred_at FROM analytics.usage_events
        WHERE org_id = wanted.org_id AND (only_actor IS NULL OR actor_id = only_actor)
            AND occurred_at >= range_start AND occurred_at < range_end
        LIMIT most
    ),
    gone AS (
        DELETE FROM analytics.usage_events AS stored USING doomed
        WHERE stored.org_id = wanted.org_id AND stored.event_id = doomed.event_id
            AND stored.occurred_at = doomed.occurred_at
            AND stored.occurred_at >= range_start AND stored.occurred_at < range_end
        RETURNING batch_id
    ),
    counted AS (
        INSERT INTO analytics.erased_events AS stored (batch_id, erased_count)
        SELECT batch_id, count(*) FROM gone GROUP BY batch_id ORDER BY batch_id
        ON CONFLICT (batch_id) DO UPDATE SET erased_count = stored.erased_count + EXCLUDED.erased_count
    )
    SELECT count(*) INTO erased FROM gone;
    RETURN erased;
END
$function$;

CREATE OR REPLACE FUNCTION analytics.histogram_append(old_bins smallint[], old_counts bigint[], old_merged smallint, new_bins smallint[], new_counts bigint[])
 RETURNS TABLE(bins smallint[], counts bigint[], merged smallint)
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT old_bins || new_bins, old_counts || new_counts, old_merged
    WHERE cardinality(old_bins) + cardinality(new_bins) <= 2 * old_merged + 32
    UNION ALL
    SELECT both_histograms.*
    FROM analytics.histogram_merge(old_bins || new_bins, old_counts || new_counts) AS both_histograms
    WHERE cardinality(old_bins) + cardinality(new_bins) > 2 * old_merged + 32
$function$;

CREATE OR REPLACE FUNCTION analytics.histogram_merge(some_bins smallint[], some_counts bigint[])
 RETURNS TABLE(bins smallint[], counts bigint[], merged smallint)
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT array_agg(bin), array_agg(calls), count(*)::smallint
    FROM (
        SELECT bin, analytics.bigint_sum(calls) AS calls
        FROM (SELECT unnest(some_bins) AS bin, unnest(some_counts) AS calls) AS entries
        GROUP BY bin
        ORDER BY bin
    ) AS summed
$function$;

CREATE OR REPLACE FUNCTION analytics.histogram_of(calls smallint[])
 RETURNS TABLE(bins smallint[], counts bigint[], merged smallint)
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$
    SELECT calls, array_fill(1::bigint, ARRAY[cardinality(calls)]), 0::smallint WHERE cardinality(calls) <= 64
    UNION ALL
    SELECT array_agg(bin), array_agg(times), count(*)::smallint
    FROM (
        SELECT bin, count(*) AS times FROM (SELECT unnest(calls) AS bin) AS entries GROUP BY bin ORDER BY bin
    ) AS summed
    WHERE cardinality(calls) > 64
    HAVING cardinality(calls) > 64
$function$;

CREATE OR REPLACE FUNCTION analytics.json_ascii(name text)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
 SET search_path TO 'pg_catalog'
AS $function$
    SELECT string_agg(
        CASE
            WHEN code < 128 THEN letter
            WHEN code < 65536 THEN '\u' || lpad(to_hex(code), 4, '0')
            ELSE '\u' || to_hex(55296 + (code - 65536) / 1024) || '\u' || to_hex(56320 + (code - 65536) % 1024)
        END,
        '' ORDER BY place
    )
    FROM (
        SELECT letter, ascii(letter) AS code, place
        FROM unnest(string_to_array(substr(to_json(name)::text, 2, length(to_json(name)::text) - 2), NULL))
            WITH ORDINALITY AS letters (letter, place)
    ) AS coded
$function$;

CREATE OR REPLACE FUNCTION analytics.latency_bin(latency_ms integer)
 RETURNS smallint
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE STRICT
AS $function$
    SELECT ((width_bucket(latency_ms, '{
        128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152,
        4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824
    }'::integer[]) << 6) + (latency_ms >> width_bucket(latency_ms, '{
        128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536, 131072, 262144, 524288, 1048576, 2097152,
        4194304, 8388608, 16777216, 33554432, 67108864, 134217728, 268435456, 536870912, 1073741824
    }'::integer[])))::smallint
$function$;

CREATE OR REPLACE FUNCTION analytics.project(metadata jsonb)
 RETURNS text
 LANGUAGE sql
 IMMUTABLE PARALLEL SAFE
AS $function$ SELECT coalesce("left"(metadata ->> 'project', 200), '') $function$;

CREATE OR REPLACE FUNCTION analytics.protect_tenant_table(protected regclass)
 RETURNS void
 LANGUAGE plpgsql
AS $function$
DECLARE
    chunk regclass;
    every_column text;
BEGIN
    EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', protected);
    EXECUTE format('DROP POLICY IF EXISTS pipeline_rows ON %s', protected);
    EXECUTE format('CREATE POLICY pipeline_rows ON %s TO analytics_ingest, analytics_rollup USING (true)', protected);
    EXECUTE format('DROP POLICY IF EXISTS tenant_rows ON %s', protected);
    EXECUTE format(
        'CREATE POLICY tenant_rows ON %s TO analytics_query_api, analytics_export
        USING (org_id = (SELECT analytics.current_org()) OR (SELECT analytics.sees_every_org()))', protected
    );
    -- A chunk is a table without policies that anybody may name, and it takes over the rights that its hypertable
    -- grants on the whole table. Rights on columns it does not take over, and through the hypertable they are enough.
    IF EXISTS (
        SELECT FROM timescaledb_information.hypertables
        WHERE format('%I.%I', hypertable_schema, hypertable_name)::regclass = protected
    ) THEN
        SELECT string_agg(quote_ident(attname), ', ') INTO every_column
        FROM pg_attribute WHERE attrelid = protected AND attnum > 0 AND NOT attisdropped;
        EXECUTE format('REVOKE SELECT ON %s FROM analytics_query_api, analytics_export', protected);
        EXECUTE format('GRANT SELECT (%s) ON %s TO analytics_query_api, analytics_export', every_column, protected);
        FOR chunk IN SELECT public.show_chunks(protected) LOOP
            EXECUTE format('REVOKE ALL ON %s FROM analytics_query_api, analytics_export', chunk);
        END LOOP;
    ELSE
        EXECUTE format('GRANT SELECT ON %s TO analytics_query_api, analytics_export', protected);
    END IF;
    EXECUTE format('GRANT SELECT ON %s TO analytics_ingest, analytics_rollup', protected);
END
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_actor_days(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, series uuid, actor_id text, model_id text, status text, error_code text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, day, series, actor_id, model_id, status, error_code,
        sums.invocations, sums.errors, sums.timeouts, sums.throttled,
        sums.input, sums.output, sums.cached, sums.reasoning, sums.cost,
        histogram.bins, histogram.counts, sums.first_at, sums.last_at
    FROM (
        SELECT
            org_id, date_trunc('day', bucket_start, 'UTC') AS day, series, actor_id, model_id, status, error_code,
            sum(invocations)::bigint AS invocations, sum(error_count)::bigint AS errors,
            sum(timeout_count)::bigint AS timeouts, sum(throttled_count)::bigint AS throttled,
            sum(input_tokens)::bigint AS input, sum(output_tokens)::bigint AS output,
            sum(cached_input_tokens)::bigint AS cached, sum(reasoning_tokens)::bigint AS reasoning,
            sum(cost_microcents)::bigint AS cost,
            analytics.array_concat(latency_bins) AS bins, analytics.array_concat(latency_counts) AS counts,
            min(first_event_at) AS first_at, max(last_event_at) AS last_at
        FROM analytics.usage_actor_hourly
        WHERE bucket_start >= range_start AND bucket_start < range_end AND (only_org IS NULL OR org_id = only_org)
            AND bucket_start < coalesce(
                (SELECT daily_through FROM analytics.rollup_progress WHERE family = 'actor'), 'infinity'
            )
        GROUP BY org_id, day, series, actor_id, model_id, status, error_code
    ) AS sums
    CROSS JOIN LATERAL analytics.histogram_merge(sums.bins, sums.counts) AS histogram
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_actor_hours(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, series uuid, actor_id text, model_id text, status text, error_code text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, bucket, analytics.series(actor_id, model_id, status, error_code), actor_id, model_id, status, error_code,
        sum(calls)::bigint, sum(errors)::bigint, sum(timeouts)::bigint, sum(throttled)::bigint,
        sum(input)::bigint, sum(output)::bigint, sum(cached)::bigint, sum(reasoning)::bigint, sum(cost)::bigint,
        array_agg(bin ORDER BY bin), array_agg(calls ORDER BY bin), min(first_at), max(last_at)
    FROM (
        SELECT
            org_id, bucket, actor_id, model_id, status, error_code, bin,
            count(*) AS calls, sum((status = 'error')::integer) AS errors, sum((status = 'timeout')::integer) AS timeouts,
            sum((status = 'throttled')::integer) AS throttled, sum(input_tokens) AS input, sum(output_tokens) AS output,
            sum(cached_input_tokens) AS cached, sum(reasoning_tokens) AS reasoning, sum(cost_microcents) AS cost,
            min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM (
            SELECT
                org_id, date_bin('1 hour', occurred_at, 'epoch') AS bucket, model_id, status,
                coalesce(client_id, '') AS client_id, coalesce(actor_id, '') AS actor_id,
                coalesce(error_code, '') AS error_code, coalesce(usage_events.project, analytics.project(metadata)) AS project,
                analytics.latency_bin(latency_ms) AS bin, input_tokens, output_tokens, cached_input_tokens,
                reasoning_tokens, cost_microcents, occurred_at
            FROM analytics.usage_events
            WHERE occurred_at >= range_start AND occurred_at < range_end AND (only_org IS NULL OR org_id = only_org)
                AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL)
        ) AS events
        GROUP BY org_id, bucket, actor_id, model_id, status, error_code, bin
    ) AS bins
    GROUP BY org_id, bucket, actor_id, model_id, status, error_code
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_days(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, model_id text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, day, model_id,
        sums.invocations, sums.errors, sums.timeouts, sums.throttled,
        sums.input, sums.output, sums.cached, sums.reasoning, sums.cost,
        histogram.bins, histogram.counts, sums.first_at, sums.last_at
    FROM (
        SELECT
            org_id, date_trunc('day', bucket_start, 'UTC') AS day, model_id,
            sum(invocations)::bigint AS invocations, sum(error_count)::bigint AS errors,
            sum(timeout_count)::bigint AS timeouts, sum(throttled_count)::bigint AS throttled,
            sum(input_tokens)::bigint AS input, sum(output_tokens)::bigint AS output,
            sum(cached_input_tokens)::bigint AS cached, sum(reasoning_tokens)::bigint AS reasoning,
            sum(cost_microcents)::bigint AS cost,
            analytics.array_concat(latency_bins) AS bins, analytics.array_concat(latency_counts) AS counts,
            min(first_event_at) AS first_at, max(last_event_at) AS last_at
        FROM analytics.usage_hourly
        WHERE bucket_start >= range_start AND bucket_start < range_end AND (only_org IS NULL OR org_id = only_org)
            AND bucket_start < coalesce(
                (SELECT daily_through FROM analytics.rollup_progress WHERE family = 'infinity'), 'infinity'
            )
        GROUP BY org_id, day, model_id
    ) AS sums
    CROSS JOIN LATERAL analytics.histogram_merge(sums.bins, sums.counts) AS histogram
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_detail_days(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, series uuid, model_id text, client_id text, project text, status text, error_code text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, day, series, model_id, client_id, project, status, error_code,
        sums.invocations, sums.errors, sums.timeouts, sums.throttled,
        sums.input, sums.output, sums.cached, sums.reasoning, sums.cost,
        histogram.bins, histogram.counts, sums.first_at, sums.last_at
    FROM (
        SELECT
            org_id, date_trunc('day', bucket_start, 'UTC') AS day, series, model_id, client_id, project, status, error_code,
            sum(invocations)::bigint AS invocations, sum(error_count)::bigint AS errors,
            sum(timeout_count)::bigint AS timeouts, sum(throttled_count)::bigint AS throttled,
            sum(input_tokens)::bigint AS input, sum(output_tokens)::bigint AS output,
            sum(cached_input_tokens)::bigint AS cached, sum(reasoning_tokens)::bigint AS reasoning,
            sum(cost_microcents)::bigint AS cost,
            analytics.array_concat(latency_bins) AS bins, analytics.array_concat(latency_counts) AS counts,
            min(first_event_at) AS first_at, max(last_event_at) AS last_at
        FROM analytics.usage_detail_hourly
        WHERE bucket_start >= range_start AND bucket_start < range_end AND (only_org IS NULL OR org_id = only_org)
            AND bucket_start < coalesce(
                (SELECT daily_through FROM analytics.rollup_progress WHERE family = 'detail'), 'infinity'
            )
        GROUP BY org_id, day, series, model_id, client_id, project, status, error_code
    ) AS sums
    CROSS JOIN LATERAL analytics.histogram_merge(sums.bins, sums.counts) AS histogram
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_detail_hours(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, series uuid, model_id text, client_id text, project text, status text, error_code text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, bucket, analytics.series(model_id, client_id, project, status, error_code), model_id, client_id, project, status, error_code,
        sum(calls)::bigint, sum(errors)::bigint, sum(timeouts)::bigint, sum(throttled)::bigint,
        sum(input)::bigint, sum(output)::bigint, sum(cached)::bigint, sum(reasoning)::bigint, sum(cost)::bigint,
        array_agg(bin ORDER BY bin), array_agg(calls ORDER BY bin), min(first_at), max(last_at)
    FROM (
        SELECT
            org_id, bucket, model_id, client_id, project, status, error_code, bin,
            count(*) AS calls, sum((status = 'error')::integer) AS errors, sum((status = 'timeout')::integer) AS timeouts,
            sum((status = 'throttled')::integer) AS throttled, sum(input_tokens) AS input, sum(output_tokens) AS output,
            sum(cached_input_tokens) AS cached, sum(reasoning_tokens) AS reasoning, sum(cost_microcents) AS cost,
            min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM (
            SELECT
                org_id, date_bin('1 hour', occurred_at, 'epoch') AS bucket, model_id, status,
                coalesce(client_id, '') AS client_id, coalesce(actor_id, '') AS actor_id,
                coalesce(error_code, '') AS error_code, coalesce(usage_events.project, analytics.project(metadata)) AS project,
                analytics.latency_bin(latency_ms) AS bin, input_tokens, output_tokens, cached_input_tokens,
                reasoning_tokens, cost_microcents, occurred_at
            FROM analytics.usage_events
            WHERE occurred_at >= range_start AND occurred_at < range_end AND (only_org IS NULL OR org_id = only_org)
                AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL)
        ) AS events
        GROUP BY org_id, bucket, model_id, client_id, project, status, error_code, bin
    ) AS bins
    GROUP BY org_id, bucket, model_id, client_id, project, status, error_code
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_hours(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, model_id text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, bucket, model_id,
        sum(calls)::bigint, sum(errors)::bigint, sum(timeouts)::bigint, sum(throttled)::bigint,
        sum(input)::bigint, sum(output)::bigint, sum(cached)::bigint, sum(reasoning)::bigint, sum(cost)::bigint,
        array_agg(bin ORDER BY bin), array_agg(calls ORDER BY bin), min(first_at), max(last_at)
    FROM (
        SELECT
            org_id, bucket, model_id, bin,
            count(*) AS calls, sum((status = 'error')::integer) AS errors, sum((status = 'timeout')::integer) AS timeouts,
            sum((status = 'throttled')::integer) AS throttled, sum(input_tokens) AS input, sum(output_tokens) AS output,
            sum(cached_input_tokens) AS cached, sum(reasoning_tokens) AS reasoning, sum(cost_microcents) AS cost,
            min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM (
            SELECT
                org_id, date_bin('1 hour', occurred_at, 'epoch') AS bucket, model_id, status,
                coalesce(client_id, '') AS client_id, coalesce(actor_id, '') AS actor_id,
                coalesce(error_code, '') AS error_code, coalesce(usage_events.project, analytics.project(metadata)) AS project,
                analytics.latency_bin(latency_ms) AS bin, input_tokens, output_tokens, cached_input_tokens,
                reasoning_tokens, cost_microcents, occurred_at
            FROM analytics.usage_events
            WHERE occurred_at >= range_start AND occurred_at < range_end AND (only_org IS NULL OR org_id = only_org)
                AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE folded_at IS NULL)
        ) AS events
        GROUP BY org_id, bucket, model_id, bin
    ) AS bins
    GROUP BY org_id, bucket, model_id
$function$;

CREATE OR REPLACE FUNCTION analytics.recount_quarters(range_start timestamp with time zone, range_end timestamp with time zone, only_org uuid)
 RETURNS TABLE(org_id uuid, bucket_start timestamp with time zone, model_id text, invocations bigint, error_count bigint, timeout_count bigint, throttled_count bigint, input_tokens bigint, output_tokens bigint, cached_input_tokens bigint, reasoning_tokens bigint, cost_microcents bigint, latency_bins smallint[], latency_counts bigint[], first_event_at timestamp with time zone, last_event_at timestamp with time zone)
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT
        org_id, bucket, model_id,
        sum(calls)::bigint, sum(errors)::bigint, sum(timeouts)::bigint, sum(throttled)::bigint,
        sum(input)::bigint, sum(output)::bigint, sum(cached)::bigint, sum(reasoning)::bigint, sum(cost)::bigint,
        array_agg(bin ORDER BY bin), array_agg(calls ORDER BY bin), min(first_at), max(last_at)
    FROM (
        SELECT
            org_id, bucket, model_id, bin,
            count(*) AS calls, sum((status = 'error')::integer) AS errors, sum((status = 'timeout')::integer) AS timeouts,
            sum((status = 'throttled')::integer) AS throttled, sum(input_tokens) AS input, sum(output_tokens) AS output,
            sum(cached_input_tokens) AS cached, sum(reasoning_tokens) AS reasoning, sum(cost_microcents) AS cost,
            min(occurred_at) AS first_at, max(occurred_at) AS last_at
        FROM (
            SELECT
                org_id, date_bin('15 minutes', occurred_at, 'epoch') AS bucket, model_id, status,
                coalesce(client_id, '') AS client_id, coalesce(actor_id, '') AS actor_id,
                coalesce(error_code, '') AS error_code, coalesce(usage_events.project, analytics.project(metadata)) AS project,
                analytics.latency_bin(latency_ms) AS bin, input_tokens, output_tokens, cached_input_tokens,
                reasoning_tokens, cost_microcents, occurred_at
            FROM analytics.usage_events
            WHERE occurred_at >= range_start AND occurred_at < range_end AND (only_org IS NULL OR org_id = only_org)
                AND batch_id NOT IN (SELECT batch_id FROM analytics.ingestion_batches WHERE dimensions_folded_at IS NULL)
        ) AS events
        GROUP BY org_id, bucket, model_id, bin
    ) AS bins
    GROUP BY org_id, bucket, model_id
$function$;

CREATE OR REPLACE FUNCTION analytics.refuse_audit_change()
 RETURNS trigger
 LANGUAGE plpgsql
AS $function$
BEGIN
    RAISE EXCEPTION 'analytics.audit_log is append-only' USING ERRCODE = 'insufficient_privilege';
END
$function$;

CREATE OR REPLACE FUNCTION analytics.sees_every_org()
 RETURNS boolean
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$ SELECT coalesce(current_setting('app.scope', true) = 'platform', false) $function$;

CREATE OR REPLACE FUNCTION analytics.series(VARIADIC dimension_values text[])
 RETURNS uuid
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$ SELECT encode(substr(sha256(convert_to(dimension_values::text, 'UTF8')), 1, 16), 'hex')::uuid $function$;

CREATE OR REPLACE FUNCTION analytics.watermark()
 RETURNS timestamp with time zone
 LANGUAGE sql
 STABLE PARALLEL SAFE
AS $function$
    SELECT CASE WHEN count(*) > 0 AND count(*) = count(accepted_through) THEN least(
        min(accepted_through),
        (SELECT min(first_chunk_at) FROM analytics.ingestion_batches WHERE folded_at IS NULL)
    ) END
    FROM analytics.stream_offsets
    WHERE retired_at IS NULL
$function$;
