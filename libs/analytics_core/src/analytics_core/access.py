"""Who may do what, in which organisation. Pure: identity comes from `http.identity`, records go to `audit`.

An `OrgScope` is the permission to touch one organisation's data, a `PlatformScope` that to touch everybody's. Only this
module can build one, and every query function takes one, so that a query without a decision cannot be written.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType
from uuid import UUID

_BUILD_KEY = object()


class Role(StrEnum):
    """The roles that mean more than one action."""

    ADMIN = "admin"
    ORG_ADMIN = "org:admin"


class Action(StrEnum):
    """What can be asked for; the value is the role that allows it inside the principal's organisations."""

    EVENTS_WRITE = "analytics:events:write"
    USAGE_READ = "analytics:usage:read"
    RELIABILITY_READ = "analytics:reliability:read"
    FRESHNESS_READ = "analytics:freshness:read"
    EXPORTS_CREATE = "analytics:exports:create"
    EXPORTS_READ = "analytics:exports:read"
    EXPORTS_DOWNLOAD = "analytics:exports:download"
    AUDIT_READ = "analytics:audit:read"


class PlatformAction(StrEnum):
    """What concerns every organisation at once: only the platform administrator may. The value is for the audit log."""

    USAGE_READ = "platform:usage:read"
    AUDIT_READ = "platform:audit:read"
    DEAD_LETTERS_READ = "platform:dead-letters:read"
    DEAD_LETTERS_REPLAY = "platform:dead-letters:replay"
    PARTITIONS_READ = "platform:partitions:read"
    PARTITIONS_CHANGE = "platform:partitions:change"


_EVERYWHERE = frozenset({Role.ADMIN.value})
_IN_OWN_ORGS = frozenset({Role.ORG_ADMIN.value})

POLICY: Mapping[Action | PlatformAction, frozenset[str]] = MappingProxyType(
    {
        Action.EVENTS_WRITE: _EVERYWHERE | _IN_OWN_ORGS | {Action.EVENTS_WRITE.value},
        Action.USAGE_READ: _EVERYWHERE | _IN_OWN_ORGS | {Action.USAGE_READ.value},
        Action.RELIABILITY_READ: _EVERYWHERE | _IN_OWN_ORGS | {Action.RELIABILITY_READ.value},
        # Freshness has no role of its own: whoever may see numbers may see how fresh they are.
        Action.FRESHNESS_READ: _EVERYWHERE | _IN_OWN_ORGS | {Action.USAGE_READ.value, Action.RELIABILITY_READ.value},
        Action.EXPORTS_CREATE: _EVERYWHERE | _IN_OWN_ORGS | {Action.EXPORTS_CREATE.value},
        Action.EXPORTS_READ: _EVERYWHERE | _IN_OWN_ORGS | {Action.EXPORTS_READ.value},
        Action.EXPORTS_DOWNLOAD: _EVERYWHERE | _IN_OWN_ORGS | {Action.EXPORTS_DOWNLOAD.value},
        Action.AUDIT_READ: _EVERYWHERE | _IN_OWN_ORGS | {Action.AUDIT_READ.value},
        PlatformAction.USAGE_READ: _EVERYWHERE,
        PlatformAction.AUDIT_READ: _EVERYWHERE,
        PlatformAction.DEAD_LETTERS_READ: _EVERYWHERE,
        PlatformAction.DEAD_LETTERS_REPLAY: _EVERYWHERE,
        PlatformAction.PARTITIONS_READ: _EVERYWHERE,
        PlatformAction.PARTITIONS_CHANGE: _EVERYWHERE,
    }
)
"""The whole policy: any of these roles allows the action, all but `admin` only inside the principal's organisations."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking: a subject, its roles and the organisations that it belongs to."""

    subject: str
    roles: frozenset[str] = field(default_factory=frozenset)
    orgs: frozenset[UUID] = field(default_factory=frozenset)
    expires_at: datetime | None = None
    """When the proof of it runs out; None where it holds for the request alone."""


DEVELOPMENT_PRINCIPAL = Principal("development", frozenset({Role.ADMIN.value}))
"""Stands in for everybody when `ENABLE_RBAC=false`."""


class OrgScope:
    """The permission to touch one organisation's data. Equal to another scope of the same organisation."""

    __slots__ = ("org_id",)

    def __init__(self, org_id: UUID, *, build_key: object) -> None:
        if build_key is not _BUILD_KEY:
            raise TypeError("an OrgScope comes from access.decide(), nobody else builds one")
        self.org_id = org_id

    def __repr__(self) -> str:
        return f"OrgScope({self.org_id})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, OrgScope) and other.org_id == self.org_id

    def __hash__(self) -> int:
        return hash(self.org_id)


class PlatformScope:
    """The permission to touch the data of every organisation."""

    __slots__ = ()

    def __init__(self, *, build_key: object) -> None:
        if build_key is not _BUILD_KEY:
            raise TypeError("a PlatformScope comes from access.decide_platform(), nobody else builds one")

    def __repr__(self) -> str:
        return "PlatformScope()"


class Denial(StrEnum):
    """Why a request was refused."""

    UNAUTHENTICATED = "unauthenticated"
    FOREIGN_ORG = "foreign-org"
    MISSING_ROLE = "missing-role"


@dataclass(frozen=True, slots=True)
class Decision:
    """The outcome of one access decision: a scope, or the reason for its absence."""

    principal: Principal
    action: Action
    org_id: UUID
    scope: OrgScope | None
    reason: str

    @property
    def allowed(self) -> bool:
        return self.scope is not None


@dataclass(frozen=True, slots=True)
class PlatformDecision:
    """The outcome of a decision about all organisations at once."""

    principal: Principal
    action: PlatformAction
    scope: PlatformScope | None
    reason: str

    @property
    def allowed(self) -> bool:
        return self.scope is not None

    @property
    def org_id(self) -> None:
        """No single one."""
        return


@dataclass(frozen=True, slots=True)
class RoleDecision:
    """Whether a principal has a role for an action at all; it permits nothing in any organisation."""

    principal: Principal
    action: Action
    allowed: bool
    reason: str

    @property
    def org_id(self) -> None:
        """None yet."""
        return


AnyDecision = Decision | PlatformDecision | RoleDecision

ANONYMOUS = Principal("anonymous")


def decide(principal: Principal | None, action: Action, org_id: UUID) -> Decision:
    """Decide whether a principal may do something in an organisation; None is a caller without an identity.

    `admin` may everything everywhere, `org:admin` everything in its organisations, any other role what it says, in its
    organisations. A foreign organisation is refused before roles are looked at, so that the answer tells nothing.
    """
    if principal is None:
        return Decision(ANONYMOUS, action, org_id, None, Denial.UNAUTHENTICATED)
    if Role.ADMIN in principal.roles:
        return Decision(principal, action, org_id, _scope(org_id), f"role {Role.ADMIN}")
    if org_id not in principal.orgs:
        return Decision(principal, action, org_id, None, Denial.FOREIGN_ORG)
    role = _role_for(principal, action)
    if role is None:
        return Decision(principal, action, org_id, None, Denial.MISSING_ROLE)
    return Decision(principal, action, org_id, _scope(org_id), f"role {role}")


def decide_platform(principal: Principal | None, action: PlatformAction) -> PlatformDecision:
    """Decide whether a principal may do something across organisations: `admin` may, nobody else."""
    if principal is None:
        return PlatformDecision(ANONYMOUS, action, None, Denial.UNAUTHENTICATED)
    if principal.roles.isdisjoint(POLICY[action]):
        return PlatformDecision(principal, action, None, Denial.MISSING_ROLE)
    return PlatformDecision(principal, action, PlatformScope(build_key=_BUILD_KEY), f"role {Role.ADMIN}")


def decide_role(principal: Principal | None, action: Action) -> RoleDecision:
    """Decide whether to look at a request whose organisations are in its body; each of them still needs `decide`."""
    if principal is None:
        return RoleDecision(ANONYMOUS, action, False, Denial.UNAUTHENTICATED)
    role = Role.ADMIN if Role.ADMIN in principal.roles else _role_for(principal, action)
    if role is None:
        return RoleDecision(principal, action, False, Denial.MISSING_ROLE)
    return RoleDecision(principal, action, True, f"role {role}")


def scope_for_accepted_job(org_id: UUID) -> OrgScope:
    """The scope of work that was allowed when it was asked for, such as an export job taken up by a worker later."""
    return _scope(org_id)


def scope_for_own_work() -> PlatformScope:
    """The scope of what a service does for everybody unasked, such as a worker's look into its queue."""
    return PlatformScope(build_key=_BUILD_KEY)


def _role_for(principal: Principal, action: Action) -> str | None:
    """The role by which a principal may do something in its own organisations."""
    return min(principal.roles & POLICY[action], default=None)


def _scope(org_id: UUID) -> OrgScope:
    return OrgScope(org_id, build_key=_BUILD_KEY)
