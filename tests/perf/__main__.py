"""Runs a benchmark of this folder by its name; without a name, or with a wrong one, lists them."""

import ast
import runpy
import signal
import sys
from pathlib import Path


def benchmarks() -> dict[str, str]:
    """The benchmarks by name, each with the first line of its docstring."""
    files = sorted(Path(__file__).parent.glob("[a-z]*.py"))
    return {file.stem: _first_line(file) for file in files}


def _first_line(file: Path) -> str:
    docstring = ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


def main() -> int:
    names = benchmarks()
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    if asked not in names:
        out = sys.stdout if asked in {"", "-h", "--help"} else sys.stderr
        if out is sys.stderr:
            print(f"error: there is no benchmark {asked!r}", file=out)
        print("usage: ./tools/dev bench NAME [ARGUMENTS]\n", file=out)
        for name, meaning in names.items():
            print(f"  {name:<10} {meaning}", file=out)
        return 0 if out is sys.stdout else 2
    # Told to stop, it takes the services and the publisher that it has started with it, as on Ctrl+C.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    sys.argv = sys.argv[1:]
    runpy.run_module(f"tests.perf.{asked}", run_name="__main__", alter_sys=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
