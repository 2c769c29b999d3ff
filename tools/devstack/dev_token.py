"""`token`: a bearer token that this stack's services accept, for trying the API by hand."""

import time
from collections.abc import Sequence
from uuid import UUID

import jwt

from analytics_core.access import POLICY
from tools.devstack import envfile
from tools.devstack.problems import StackError
from tools.devstack.stack import env_file

# The README's table of roles says what each allows.
ROLES = frozenset[str]().union(*POLICY.values())
DEFAULT_ROLES = ("org:admin",)
DEFAULT_TTL_S = 12 * 3600


def mint(name: str, *, subject: str, orgs: Sequence[str], roles: Sequence[str], admin: bool, ttl_s: int) -> str:
    """A token signed with the stack's AUTH_JWT_SECRET; raises StackError for what is no UUID or no role.

    Without roles it is that of an administrator of the given organisations; `admin` adds the platform administrator.
    """
    for org in orgs:
        try:
            UUID(org)
        except ValueError:
            raise StackError(
                f"--org {org}: not a UUID.", "Organisation ids look like 6f1d…-…; ask GET /usage."
            ) from None
    for role in roles:
        if role not in ROLES:
            raise StackError(f"--role {role}: no such role.", f"Roles: {', '.join(sorted(ROLES))}.")
    granted = [*(roles or (() if admin else DEFAULT_ROLES)), *(("admin",) if admin else ())]
    now = int(time.time())
    claims = {"sub": subject, "roles": granted, "orgs": list(orgs), "iat": now, "exp": now + ttl_s}
    return jwt.encode(claims, envfile.parse(env_file(name))["AUTH_JWT_SECRET"], algorithm="HS256")
