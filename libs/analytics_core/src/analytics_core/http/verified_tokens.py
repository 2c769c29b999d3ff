"""Bearer tokens that were verified a moment ago, and whose they are.

A dashboard sends the same token with each of its questions, and verifying one takes as long as reading a small answer
from the database. A token is known by its digest: nothing here is worth stealing.
"""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from datetime import datetime, timedelta

from analytics_core.access import Principal
from analytics_core.clock import Clock

# As long as a burst of questions; a key that its issuer withdraws is believed for so much longer.
HELD_MAX = timedelta(seconds=10)
# 1 MB; the callers beyond are verified each time, as all of them would be without this.
TOKENS_MAX = 1_024


@dataclass(frozen=True, slots=True)
class _Verified:
    principal: Principal
    since: datetime
    until: datetime


class VerifiedTokens:
    """For one way to verify: one key or key set, issuer and audience. Those used last are kept."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tokens: OrderedDict[bytes, _Verified] = OrderedDict()

    def __len__(self) -> int:
        return len(self._tokens)

    def find(self, token: str) -> Principal | None:
        """Whose the token is; None where it has to be verified: unknown, for too long, or past its end."""
        key = _digest(token)
        known = self._tokens.get(key)
        if known is None:
            return None
        # Before `since` is a clock that was set back, and maybe before the token's own beginning.
        if not known.since <= self._clock() < known.until:
            del self._tokens[key]
            return None
        self._tokens.move_to_end(key)
        return known.principal

    def hold(self, token: str, principal: Principal) -> None:
        """Remember a token that was verified now. One past its end lives off the leeway: it is verified each time."""
        now = self._clock()
        until = min(now + HELD_MAX, principal.expires_at or now)
        if now >= until:
            return
        self._tokens[_digest(token)] = _Verified(principal, now, until)
        if len(self._tokens) > TOKENS_MAX:
            self._tokens.popitem(last=False)


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
