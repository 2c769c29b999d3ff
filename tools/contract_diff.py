"""`./tools/dev contract-diff REF`: what in contracts/ would break somebody who relies on REF (default: origin/main).

Breaking is, for the HTTP APIs: an operation, a successful answer or one of its fields that is gone or has another
type; a parameter or a body's field that must now be given; a value of a request that is no longer accepted. For events:
a field that must now be given, and a value that is no longer accepted. Exit code 1 when anything breaks.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
Schema = Mapping[str, Any]
METHODS = ("get", "put", "post", "delete", "patch")
# Schemas that contain themselves are compared this deep.
DEPTH_MAX = 12


@dataclass(frozen=True)
class Comparison:
    """Two documents, in which the references of their schemas are looked up."""

    old: Schema
    new: Schema

    def of_request(self, where: str, old: Schema, new: Schema, depth: int = 0) -> Iterator[str]:
        """What callers could send and no longer can, and what they now must send."""
        old, new = _resolved(old, self.old), _resolved(new, self.new)
        refused = _types(old) - _types(new)
        if _types(new) and refused:
            yield f"{where}: request type {', '.join(sorted(refused))} refused"
        if "enum" in new:
            gone = [value for value in old.get("enum", []) if value not in new["enum"]]
            yield from (f"{where}: {value!r} is no longer accepted" for value in gone)
        for field in sorted(set(new.get("required", [])) - set(old.get("required", []))):
            yield f"{where}.{field}: must now be given"
        if depth < DEPTH_MAX:
            for name, before, after in _children(old, new):
                if after is not None:
                    yield from self.of_request(where + name, before, after, depth + 1)

    def of_answer(self, where: str, old: Schema, new: Schema, depth: int = 0) -> Iterator[str]:
        """What callers got and no longer get, and what they may now get that they never got."""
        old, new = _resolved(old, self.old), _resolved(new, self.new)
        added = _types(new) - _types(old)
        if _types(old) and added:
            yield f"{where}: answer type {', '.join(sorted(added))} new"
        if depth < DEPTH_MAX:
            for name, before, after in _children(old, new):
                if after is None:
                    yield f"{where}{name}: gone"
                else:
                    yield from self.of_answer(where + name, before, after, depth + 1)

    def of_operation(self, name: str, old: Schema, new: Schema) -> Iterator[str]:
        yield from self._of_parameters(name, old.get("parameters", []), new.get("parameters", []))
        bodies = self._bodies(new.get("requestBody", {}), self.new)
        for media, body in self._bodies(old.get("requestBody", {}), self.old).items():
            if media in bodies:
                yield from self.of_request(f"{name}: body", body, bodies[media])
            else:
                yield f"{name}: no longer takes {media}"
        for status, response in old.get("responses", {}).items():
            if status.startswith(("2", "3")):
                yield from self._of_response(f"{name}: {status}", response, new.get("responses", {}).get(status))

    def _of_parameters(self, name: str, old: Sequence[Schema], new: Sequence[Schema]) -> Iterator[str]:
        before = {(each["in"], each["name"]): each for each in (_resolved(each, self.old) for each in old)}
        after = {(each["in"], each["name"]): each for each in (_resolved(each, self.new) for each in new)}
        for key, parameter in before.items():
            if key in after:
                yield from self.of_request(f"{name}: {key[1]}", parameter["schema"], after[key]["schema"])
            else:
                yield f"{name}: parameter {key[1]} is gone"
        for key, parameter in after.items():
            if parameter.get("required") and not before.get(key, {}).get("required"):
                yield f"{name}: parameter {key[1]} must now be given"

    def _of_response(self, name: str, old: Schema, new: Schema | None) -> Iterator[str]:
        if new is None:
            yield f"{name}: no longer answered"
            return
        bodies = self._bodies(new, self.new)
        for media, body in self._bodies(old, self.old).items():
            if media in bodies:
                yield from self.of_answer(name, body, bodies[media])
            else:
                yield f"{name}: no longer comes as {media}"

    @staticmethod
    def _bodies(holder: Schema, document: Schema) -> dict[str, Schema]:
        content = _resolved(holder, document).get("content", {})
        return {media: value.get("schema", {}) for media, value in content.items()}


def _resolved(schema: Schema, document: Schema) -> Schema:
    while "$ref" in schema:
        target: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            target = target[part.replace("~1", "/").replace("~0", "~")]
        schema = target
    return schema


def _children(old: Schema, new: Schema) -> Iterator[tuple[str, Schema, Schema | None]]:
    """The parts of the old schema, each with its counterpart: fields by name, and the items of lists."""
    for field, schema in old.get("properties", {}).items():
        yield f".{field}", schema, new.get("properties", {}).get(field)
    if "items" in old and "items" in new:
        yield "[]", old["items"], new["items"]


def _types(schema: Schema) -> set[str]:
    kinds = schema.get("type", [])
    found = {kinds} if isinstance(kinds, str) else set(kinds)
    # Every integer is a number.
    return found | {"integer"} if "number" in found else found


def breaks_of_api(old: Schema, new: Schema) -> Iterator[str]:
    """What breaks callers of an OpenAPI document, a line each."""
    comparison = Comparison(old, new)
    for path, operations in old.get("paths", {}).items():
        for method in METHODS:
            if method not in operations:
                continue
            there = new.get("paths", {}).get(path, {}).get(method)
            if there is None:
                yield f"{method.upper()} {path}: gone"
            else:
                yield from comparison.of_operation(f"{method.upper()} {path}", operations[method], there)


def breaks_of_schema(old: Schema, new: Schema) -> Iterator[str]:
    """What breaks producers of a message described by JSON Schema, a line each."""
    yield from Comparison(old, new).of_request("event", old, new)


def breaks_since(ref: str) -> Iterator[str]:
    """All breaks between the committed contracts of `ref` and those of this work tree."""
    for name in _git("ls-tree", "-r", "--name-only", ref, "contracts/http", "contracts/events").split():
        if not name.endswith((".openapi.yaml", ".schema.json")):
            continue
        file = ROOT / name
        if not file.exists():
            yield f"{name}: gone"
            continue
        breaks = breaks_of_api if name.endswith(".openapi.yaml") else breaks_of_schema
        old, new = yaml.safe_load(_git("show", f"{ref}:{name}")), yaml.safe_load(file.read_text(encoding="utf-8"))
        yield from (f"{name}: {line}" for line in breaks(old, new))


def _git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True).stdout


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./tools/dev contract-diff", description=__doc__)
    parser.add_argument("ref", nargs="?", default="origin/main", help="commit or branch (default: origin/main)")
    options = parser.parse_args(argv)
    try:
        breaks = list(breaks_since(options.ref))
    except subprocess.CalledProcessError as error:
        print(f"error: git: {error.stderr.strip()}", file=sys.stderr)
        return 2
    for line in breaks:
        print(line)
    print(f"{len(breaks)} breaking changes since {options.ref}", file=sys.stderr)
    return 1 if breaks else 0


if __name__ == "__main__":
    sys.exit(main())
