"""Named SQL: one file a topic, one copy a statement.

A file holds blocks that begin with `-- name --` on a line of their own; the comment lines right below say why.
"""

import re
from collections.abc import Mapping
from importlib.resources import files
from types import MappingProxyType

_NAME_LINE = re.compile(r"^-- ([a-z][a-z0-9_]*) --$", re.MULTILINE)


def load_queries(package: str, topic: str) -> Mapping[str, str]:
    """The statements of `<package>/sql/<topic>.sql` by name. Raises `ValueError` for a name given twice."""
    text = files(package).joinpath("sql", f"{topic}.sql").read_text(encoding="utf-8")
    _, *parts = _NAME_LINE.split(text)
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"{package}/sql/{topic}.sql names a statement twice")
    return MappingProxyType({name: body.strip() for name, body in zip(names, bodies, strict=True)})
