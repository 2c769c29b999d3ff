"""Command line of the local stack: python -m tools.devstack --help."""

import argparse
import sys

from tools.devstack import up
from tools.devstack.problems import Interrupted, StackError


def main(arguments: list[str]) -> int:
    options = _parser().parse_args(arguments)
    up.raise_on_signals()
    try:
        up.up_servers(options.stack)
    except StackError as error:
        print(f"\nerror: {error.message}\n{error.way_out}", file=sys.stderr)
        return 1
    except Interrupted as stopped:
        print(f"\nStopped ({stopped}).", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devstack", description=__doc__)
    parser.add_argument("--stack", default="dev", help="which stack (default: dev)")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("servers", help="start the servers only")
    return parser


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
