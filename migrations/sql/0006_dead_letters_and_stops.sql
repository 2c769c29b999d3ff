-- A message may hold several events, each with a dead letter of its own; what became of a dead letter is written down.
ALTER TABLE analytics.dead_letters
    ADD COLUMN message_index integer NOT NULL DEFAULT 0,
    ADD COLUMN org_id uuid,
    ADD COLUMN replayed_at timestamptz,
    ADD COLUMN replayed_by text,
    ADD COLUMN replayed_body bytea,
    ADD COLUMN replay_problem text,
    -- tidy: narrowing — before the first release: nobody inserts by this conflict target yet
    DROP CONSTRAINT dead_letters_batch_id_stream_offset_key,
    -- tidy: narrowing — the previous release writes index 0, which makes it the one dropped above
    ADD CONSTRAINT dead_letters_place UNIQUE (batch_id, stream_offset, message_index),
    -- tidy: narrowing — of new columns
    ADD CONSTRAINT dead_letters_replayed CHECK ((replayed_at IS NULL) = (replayed_by IS NULL));
COMMENT ON COLUMN analytics.dead_letters.message_index IS 'Place in a message that held several events; 0 otherwise.';
COMMENT ON COLUMN analytics.dead_letters.org_id IS 'The organisation that the body names, if it can be read; not checked by anybody.';
COMMENT ON COLUMN analytics.dead_letters.replayed_at IS 'When the stream confirmed the event that was made of it; null while it waits.';
COMMENT ON COLUMN analytics.dead_letters.replayed_body IS 'What was published in place of body; null when it was body itself.';
COMMENT ON COLUMN analytics.dead_letters.replay_problem IS 'Why the latest attempt to replay it was refused.';
GRANT UPDATE (replayed_at, replayed_by, replayed_body, replay_problem) ON analytics.dead_letters TO analytics_ingest;

-- A partition that was stopped stays stopped whoever owns it, until its messages are found good or somebody decides.
ALTER TABLE analytics.stream_offsets
    ADD COLUMN stopped_at timestamptz,
    ADD COLUMN stopped_because text,
    ADD COLUMN stopped_through bigint,
    ADD COLUMN dead_letters_through bigint,
    -- tidy: narrowing — of new columns
    ADD CONSTRAINT stream_offsets_stop CHECK (num_nulls(stopped_at, stopped_because, stopped_through) IN (0, 3));
COMMENT ON COLUMN analytics.stream_offsets.stopped_through IS 'The last message that was looked at when the partition was stopped.';
COMMENT ON COLUMN analytics.stream_offsets.dead_letters_through IS
    'An operator has decided: up to this offset every bad message becomes a dead letter, however many there are.';
