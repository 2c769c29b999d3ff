"""Decisions that are not about one organisation in a path: they must never open one that is foreign."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.access import (
    Action,
    Denial,
    OrgScope,
    PlatformAction,
    PlatformScope,
    Principal,
    Role,
    decide,
    decide_platform,
    decide_role,
)
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID

ROLES = [*Role, *(action.value for action in Action), *(action.value for action in PlatformAction), "", "Admin"]

_principals = st.builds(
    Principal,
    subject=st.just("someone"),
    roles=st.frozensets(st.sampled_from([str(role) for role in ROLES])),
    orgs=st.frozensets(st.sampled_from([ORG_ID, OTHER_ORG_ID])),
)


@given(principal=_principals, action=st.sampled_from(PlatformAction))
def test_only_the_platform_administrator_may_look_across_organisations(
    principal: Principal, action: PlatformAction
) -> None:
    """No combination of other roles adds up to it, not even a role named after the action."""
    decision = decide_platform(principal, action)

    assert decision.allowed == ("admin" in principal.roles)
    assert isinstance(decision.scope, PlatformScope) == decision.allowed


@given(principal=_principals, action=st.sampled_from(Action), org_id=st.sampled_from([ORG_ID, OTHER_ORG_ID]))
def test_a_role_is_asked_for_before_the_body_and_the_organisation_after_it(
    principal: Principal, action: Action, org_id: UUID
) -> None:
    """Who is refused at the door could not have written to any organisation; who is let in may still be refused."""
    admitted = decide_role(principal, action)

    if not admitted.allowed:
        assert not decide(principal, action, org_id).allowed
    if decide(principal, action, org_id).allowed:
        assert admitted.allowed
    if admitted.allowed and "admin" not in principal.roles:
        assert decide(principal, action, org_id).allowed == (org_id in principal.orgs)


@given(principal=_principals, action=st.sampled_from(Action))
def test_the_role_alone_opens_nothing(principal: Principal, action: Action) -> None:
    """A query takes an OrgScope; this decision has none to give."""
    decision = decide_role(principal, action)

    assert not any(isinstance(value, OrgScope) for value in (getattr(decision, name) for name in decision.__slots__))


def test_nobody_is_refused_everything() -> None:
    """A request without an identity is not a principal without roles: the audit log tells them apart."""
    platform = decide_platform(None, PlatformAction.AUDIT_READ)
    role = decide_role(None, Action.EVENTS_WRITE)

    assert (platform.allowed, platform.reason, platform.principal.subject) == (False, "unauthenticated", "anonymous")
    assert (role.allowed, role.reason, role.principal.subject) == (False, "unauthenticated", "anonymous")


def test_the_reason_is_the_role_that_allowed_it_or_what_was_missing() -> None:
    """An auditor reads the reason, not the code."""
    writer = Principal("gateway", frozenset({Action.EVENTS_WRITE.value}))
    org_admin = Principal("boss", frozenset({Role.ORG_ADMIN.value}))

    assert decide_role(writer, Action.EVENTS_WRITE).reason == "role analytics:events:write"
    assert decide_role(org_admin, Action.EVENTS_WRITE).reason == "role org:admin"
    assert decide_role(writer, Action.USAGE_READ).reason == Denial.MISSING_ROLE
    assert decide_platform(org_admin, PlatformAction.USAGE_READ).reason == Denial.MISSING_ROLE
    assert decide_platform(Principal("root", frozenset({"admin"})), PlatformAction.USAGE_READ).reason == "role admin"


def test_nobody_else_builds_a_platform_scope() -> None:
    """A scope without a decision would be a hole that no reviewer sees."""
    with pytest.raises(TypeError, match="decide_platform"):
        PlatformScope(build_key=object())
