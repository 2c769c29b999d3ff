"""The limits of ingest: one place, each with its reason, checked against each other at start."""

from datetime import timedelta

from analytics_core.events import EVENT_BYTES_MAX

# A batch is one transaction, sorted by the identity index: the more rows, the more of them meet on its pages. With
# 4,000,000 rows in two days each of 40,000 costs the server 2 µs less than of 20,000, and ingest 0.7 more; its locks
# are held for a second. Batches only get that large when the database is the slower side.
BATCH_EVENTS_MAX = 40_000
BATCH_BYTES_MAX = 32 * 1024 * 1024
# Each partition has two batches in memory, 35 MB each and as much again while one is written: 340 MB in all for two
# partitions. With more of them theirs are smaller.
FULL_BATCHES_PARTITIONS = 2
BATCH_EVENTS_MIN = 10_000
# What an event waits for company at a low rate. Five batches a second and partition are cheap for everybody.
BATCH_AGE_MAX = timedelta(milliseconds=200)
# The event loop turns after so many decoded messages (about 5 ms), so that commits and probes are not held up.
DECODE_SLICE = 500

# Organisations, models, clients and metadata, each in its spelling of a row: 1 µs an event saved while they repeat, and
# 2 MB. Other metadata for each event, 8 KiB of it, would make that 64 MB.
ROW_PARTS_CACHED = 4_096
# Characters of a project, as of every other text that events are grouped by; what is longer is cut.
PROJECT_LENGTH_MAX = 200
# Advisory locks that a batch may hold at once; PostgreSQL's table has room for 6,400 with the default settings.
ORG_LOCKS_MAX = 300

# Delivered chunks that wait to be decoded. Credit is withheld beyond it: memory does not follow the backlog.
READER_BUFFER_BYTES_MAX = 8 * 1024 * 1024
# Chunks that the broker may send unasked. Ten cover a round trip of milliseconds even where chunks are small.
READER_CREDIT = 10
# Credit goes back for so many chunks at once: a message of its own for each took ingest 0.5 µs an event, and the broker
# as much. The broker always has some while chunks are taken.
READER_CREDIT_STEP = 5
# What the messages of one compressed batch may take when inflated. A chunk may hold hundreds of batches (20 MB as it
# travels were seen), which are inflated one after the other.
INFLATED_BYTES_MAX = 64 * 1024 * 1024

# Longer than anything that gets on: a statement may take a minute, and a batch of refused events thousands of them.
WATCHDOG_PATIENCE = timedelta(minutes=10)

LEASE_MIN = timedelta(seconds=2)
LEASE_MAX = timedelta(minutes=1)
# An owner stops writing this part of the lease before it ends, in case its clock runs slower than the database's.
LEASE_SAFETY = 0.2
RENEWALS_PER_LEASE = 3
# Within a batch an owner says something to the database every few milliseconds. One that has said nothing for so long,
# while its lease ran out, is frozen or cut off. Pauses of a busy machine are shorter; a longer one costs the batch,
# which is read again. Both times run from the owner's last word: a takeover takes no longer than the default lease.
SILENT_AFTER = timedelta(seconds=5)
# Balance: how often a process says that it is well, and looks at what the others own. One small transaction each.
ANNOUNCEMENTS_PER_LEASE = 6
ANNOUNCE_EVERY_MAX = timedelta(seconds=2)
# Others look for a free partition every second. One that those who should cannot take is anybody's after this long.
LEFT_TO_OTHERS = timedelta(seconds=5)
# A process whose reading failed is offered no partitions for this long: they would come and go with each try.
TROUBLE_PAUSE = timedelta(seconds=30)
# Lease renewals, heartbeats and status checks must not wait behind batches.
CONNECTIONS_BESIDE_BATCHES = 3

# When nothing comes for so long, the broker is asked whether there is nothing: proves the connection and freshness.
IDLE_PROBE_AFTER = timedelta(seconds=1)
# A probe's answer takes milliseconds; the connection is rebuilt when it takes this long.
BROKER_ANSWER_MAX = timedelta(seconds=5)
# The last chunk comes within milliseconds, unless the stream is empty.
LAST_CHUNK_MAX = timedelta(seconds=2)
# How often the broker is asked for its last chunk, which tells the lag in messages: one chunk more to transfer.
LAG_EVERY = timedelta(seconds=5)
# Messages are there and none comes, although the connection answers: the subscription is dead. Nobody else notices.
STALLED_AFTER = timedelta(seconds=30)
# Open, log in, look up; and as long again to subscribe.
READER_OPEN_MAX = timedelta(seconds=15)
# What the accepted-through time is set back by, for clocks of broker and database that differ and for the moment
# between the broker's write and its notice to the reader.
HEARTBEAT_MARGIN = timedelta(seconds=1)
# A replica may lag behind the leader after a failover: a stream that ends too early is believed after this long.
SHORT_STREAM_PATIENCE = timedelta(seconds=10)
# Offsets that the broker takes for its own entries: one for a snapshot at each segment's start and one for each
# stored offset of a consumer (measured on RabbitMQ 4.0.5). A lost segment is a larger jump.
HOUSEKEEPING_OFFSETS_MAX = 256

# A batch with an event this much older than its acceptance is marked late: a producer's retry takes minutes at most.
LATE_AFTER = timedelta(hours=1)
# How far around an event the same id is looked for. A contract: consumers are promised a day.
DEDUPE_WINDOW = timedelta(hours=24)

# The ratio of dead letters means nothing over fewer messages.
DEAD_LETTER_WINDOW = 1_000
DEAD_LETTER_DETAIL_MAX = 500
# A stopped partition is tried again after this long: somebody may have mended what was wrong. The limit remembers what
# is committed, so that trying again adds no dead letters.
STOPPED_PAUSE = timedelta(minutes=5)

# What a list of dead letters shows of each body; whoever wants all of it asks for one letter.
DEAD_LETTER_START_BYTES = 1_000
DEAD_LETTERS_PAGE_DEFAULT = 100
DEAD_LETTERS_PAGE_MAX = 1_000
# Letters are locked while the stream confirms them: few at once, at most 13 MB.
REPLAY_TRANSACTION_LETTERS = 200
# Connections of their own: a replay waits for the stream, and leases must not wait behind it.
DEAD_LETTER_POOL_SIZE = 2

# Longest wait for the transaction under way when the service stops; Kubernetes grants 30 s in total.
STOP_PATIENCE = timedelta(seconds=10)
WAKEUPS_WAITING_MAX = 100
WAKEUP_PUBLISH_MAX = timedelta(seconds=5)

# POST /events. The body's limit holds for what is sent and again for what it inflates to.
HTTP_EVENTS_MAX = 1_000
# Gzip members in a body. Each is found by copying what follows it: 200,000 empty ones in 4 MB took half a minute.
HTTP_GZIP_MEMBERS_MAX = 100
# How far the clocks of ingest and the broker may be apart: an event that is promised over HTTP is right for the stream.
CLOCKS_APART_MAX = timedelta(seconds=5)
HTTP_BODY_BYTES_MAX = 5_000_000
# What a body may take to arrive: behind the gateway, which collects it first, a moment.
HTTP_BODY_TIME_MAX = timedelta(seconds=30)
# An answer waits for the stream's confirmation, a few milliseconds; callers are told to repeat after this long.
HTTP_CONFIRM_MAX = timedelta(seconds=5)
# What an event waits for the events of other requests to share a chunk with: less than the confirmation takes.
HTTP_LINGER = timedelta(milliseconds=2)
# What is in memory for HTTP at once, bodies and events apart. Callers beyond it come back after a second.
HTTP_BYTES_IN_HAND_MAX = 64 * 1024 * 1024
HTTP_EVENTS_IN_HAND_MAX = 20_000
# At the end every request has its answer; only the broker's goodbye remains.
HTTP_CLOSE_MAX = timedelta(seconds=1)
# One connection, so that an access record never waits behind batches.
AUDIT_POOL_SIZE = 1


def check() -> None:
    """Raise `ValueError` when limits contradict each other; called before the service starts."""
    rules = {
        "a batch holds at least one event": BATCH_BYTES_MAX >= EVENT_BYTES_MAX,
        "a batch is decoded in slices": BATCH_EVENTS_MIN >= DECODE_SLICE,
        "what is buffered fits into a batch": BATCH_BYTES_MAX * BATCH_EVENTS_MIN // BATCH_EVENTS_MAX
        >= READER_BUFFER_BYTES_MAX,
        "the limit on dead letters can be reached within a batch": BATCH_EVENTS_MIN >= DEAD_LETTER_WINDOW,
        "a young batch is over before its owner has to stop": LEASE_MIN * LEASE_SAFETY > BATCH_AGE_MAX,
        "freshness is promised to two seconds": timedelta(seconds=2) >= IDLE_PROBE_AFTER + HEARTBEAT_MARGIN,
        "a caller alone may send the largest request": HTTP_EVENTS_IN_HAND_MAX >= 2 * HTTP_EVENTS_MAX
        and HTTP_BYTES_IN_HAND_MAX >= 2 * 2 * HTTP_BODY_BYTES_MAX,
        "sql/batches.sql names the same window": timedelta(hours=24) == DEDUPE_WINDOW,
    }
    broken = [rule for rule, holds in rules.items() if not holds]
    if broken:
        raise ValueError(f"limits contradict each other: {'; '.join(broken)}")
