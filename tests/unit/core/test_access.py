"""Who may do what in which organisation; see tests/unit/core_access_platform for decisions across organisations."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.access import Action, Denial, OrgScope, Principal, Role, decide, scope_for_accepted_job
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID

roles = st.frozensets(st.sampled_from([*Role, *(action.value for action in Action), "unknown:role", ""]))
orgs = st.frozensets(st.sampled_from([ORG_ID, OTHER_ORG_ID]))
principals = st.builds(Principal, subject=st.just("someone"), roles=roles, orgs=orgs)


@given(principal=st.none() | principals, action=st.sampled_from(Action))
def test_nobody_reaches_a_foreign_organisation(principal: Principal | None, action: Action) -> None:
    """Whatever roles a principal collects: only the platform administrator looks into organisations of others."""
    decision = decide(principal, action, ORG_ID)

    if principal is None:
        assert decision.reason == Denial.UNAUTHENTICATED
    elif Role.ADMIN in principal.roles:
        assert decision.allowed
    elif ORG_ID not in principal.orgs:
        assert decision.reason == Denial.FOREIGN_ORG
    assert decision.allowed == (decision.scope is not None)
    assert decision.scope is None or decision.scope.org_id == ORG_ID


@given(action=st.sampled_from(Action), held=st.sampled_from(Action))
def test_a_role_allows_its_own_action(action: Action, held: Action) -> None:
    """And no other; freshness belongs to whoever may see numbers."""
    decision = decide(Principal("someone", frozenset({held.value}), frozenset({ORG_ID})), action, ORG_ID)
    numbers = {Action.USAGE_READ, Action.RELIABILITY_READ}
    expected = held in numbers if action is Action.FRESHNESS_READ else held is action

    assert decision.allowed == expected
    assert decision.allowed or decision.reason == Denial.MISSING_ROLE


def test_an_organisations_administrator_may_everything_at_home() -> None:
    """And nothing elsewhere."""
    principal = Principal("boss", frozenset({Role.ORG_ADMIN.value}), frozenset({ORG_ID}))

    assert all(decide(principal, action, ORG_ID).allowed for action in Action)
    assert not any(decide(principal, action, OTHER_ORG_ID).allowed for action in Action)


def test_a_scope_cannot_be_built_by_hand() -> None:
    """A query without a decision cannot be written."""
    with pytest.raises(TypeError, match=r"access\.decide"):
        OrgScope(ORG_ID, build_key=object())


def test_scopes_of_one_organisation_are_equal() -> None:
    """They may be keys of caches."""
    one, other = scope_for_accepted_job(ORG_ID), scope_for_accepted_job(UUID(str(ORG_ID)))

    assert one == other
    assert hash(one) == hash(other)
    assert one != scope_for_accepted_job(OTHER_ORG_ID)
