"""The body of a request: what inflating it may cost is bounded before it is paid."""

import gzip

import pytest

from analytics_core.errors import InvalidRequest
from analytics_ingest.event_bodies import inflate
from analytics_ingest.limits import HTTP_GZIP_MEMBERS_MAX


def test_a_body_may_be_a_few_members() -> None:
    """As `cat a.gz b.gz` makes it, and encoders that flush by beginning anew."""
    members = [gzip.compress(b"%d," % number) for number in range(HTTP_GZIP_MEMBERS_MAX)]

    assert inflate(b"".join(members)) == b"".join(b"%d," % number for number in range(HTTP_GZIP_MEMBERS_MAX))


def test_a_body_of_empty_members_is_refused_at_once() -> None:
    """Each member is found by copying all that follows it: 5 MB of them would keep a thread busy for a minute."""
    with pytest.raises(InvalidRequest, match="more than 100 members"):
        inflate(gzip.compress(b"") * 250_000)
