"""Every bound of rollup in one place."""

from datetime import timedelta

BATCHES_MAX = 100
"""Batches of one fold: small ones cost by their number (locks, index probes)."""

EVENTS_MAX = 200_000
"""Stored events of one fold, unless a single batch has more: 1 s of work and 30 MB of the server's memory."""

DIMENSION_BATCHES_MAX = 2_000
"""Batches of one dimension fold."""

DIMENSION_EVENTS_MAX = 2_000_000
"""Stored events of one dimension fold, unless a single batch has more: 12 s of work and 500 MB of the server's memory.
Fewer would cost more each: 8 µs in groups of 1,000,000, 6 µs in groups of 3,000,000."""

DIMENSION_RESTS = 4
"""A dimension fold rests so many times as long as it worked: it takes a fifth of a processor, and what has gathered
meanwhile is the cheaper."""

DIMENSION_REST_SECONDS_MAX = 30.0
"""Its longest pause."""

POLL_SECONDS = 1.0
"""How often an idle worker looks for batches when no message wakes it."""

RESTS = 4
"""A worker rests so many times as long as it worked: two folds close together touch the same hot buckets twice. An
event costs 4.3 µs in groups of 20,000, 3.0 of 40,000, 2.2 of 100,000. A backlog is folded without rests."""

REST_SECONDS_MAX = 1.2
"""Its longest pause. With the fold itself and the next one, what is committed is visible within two seconds."""

SUSPECT_RETRY_SECONDS = 60.0
"""How often a batch that cannot be folded is tried again, alone."""

OBSERVE_SECONDS = 2.0
"""How often lag and backlog are measured."""

PUBLISH_TIMEOUT_SECONDS = 1.0
"""A message that RabbitMQ does not take within this time is not sent: its receivers poll."""

START_TIMEOUT_SECONDS = 15.0
"""A connection to RabbitMQ with its queue that is not there, or not closed, by then is given up: a stop must not wait
for it. More than the client's own limit for connecting, which leaves nothing behind as being cancelled does."""

WAKE_UPS_MAX = 10
"""Messages that wait in the queue: one is enough to wake a worker, the rest only say the same."""

SAMPLE_HOURS_BACK = 24
"""The sampled reconcile looks at one of the last so many closed hours."""

SAMPLE_ORGANISATIONS = 3
"""Organisations compared in a sample."""

SAMPLE_DAY_CALLS_MAX = 300_000
"""An organisation with more calls that day is not sampled: the events of its day are read once for each family."""

RECONCILE_TIMEOUT = timedelta(hours=1)
"""A statement of `analytics-rollup reconcile`: a recount reads 1,000,000 events/s or so, and a person is waiting."""

DIFFERENCES_LISTED = 20
"""Differing buckets that `analytics-rollup reconcile` names."""

CLOSE_AFTER = timedelta(hours=1)
"""A day is summed up so long after its end: what comes later than that is added to it, which costs the more the more
there is."""

UPKEEP_SECONDS = 60.0
"""How often is looked for days to close and chunks to drop. What is in use is tried again then."""

LATE_MARGIN = timedelta(days=2)
"""Events stay so much longer in their table than ingest accepts them, for the fold and for finding duplicates."""

ERASED_AT_ONCE = 20_000
"""Events that `analytics-rollup erase` deletes in one transaction: 0.3 s, in which nothing waits for it."""
