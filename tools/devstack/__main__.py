"""The local stack: servers, migrations, services and gateway on this machine."""

import argparse
import re
import sys

from tools.devstack.interruption import raise_on_signals
from tools.devstack.problems import Interrupted, StackError


def main(arguments: list[str]) -> int:
    raise_on_signals()
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command != "psql":
        _parser().error(f"unknown arguments: {' '.join(rest)}")
    try:
        _run(options, rest)
    except StackError as error:
        print(f"\nerror: {error.message}\n{error.way_out}", file=sys.stderr)
        return 1
    except PermissionError as error:
        print(f"\nerror: {error.strerror}: {error.filename}", file=sys.stderr)
        print("Was the stack started by another user? Then run this as that user: sudo ./tools/dev …", file=sys.stderr)
        return 1
    except Interrupted as stopped:
        print(f"\nStopped by {stopped}; what this command had started is stopped.", file=sys.stderr)
        return 130
    return 0


def _run(options: argparse.Namespace, rest: list[str]) -> None:
    """Calls the command; each imports only what it uses, which keeps `token` and `logs` quick."""
    match options.command:
        case "up" | "servers":
            from tools.devstack import up

            up.up(options.stack, servers_only=options.command == "servers")
        case "down":
            from tools.devstack import down

            down.down(options.stack)
        case "status":
            from tools.devstack import status

            found = status.collect(options.stack)
            if options.json:
                print(status.as_json(options.stack, found))
            else:
                status.print_table(options.stack, found)
        case "logs":
            from tools.devstack import logs

            logs.show(options.stack, options.component, follow=options.follow, lines=options.lines)
        case "psql":
            from tools.devstack import psql

            psql.run(options.stack, rest)
        case "token":
            from tools.devstack import dev_token

            ttl_s, orgs, roles = options.ttl, options.org, options.role
            print(
                dev_token.mint(
                    options.stack, subject=options.subject, orgs=orgs, roles=roles, admin=options.admin, ttl_s=ttl_s
                )
            )


def _parser() -> argparse.ArgumentParser:
    which = argparse.ArgumentParser(add_help=False)
    which.add_argument("--stack", default="dev", help="which stack (default: dev)")
    parser = argparse.ArgumentParser(prog="tools/dev", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    def command(name: str, description: str, *, add_help: bool = True) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=description, description=description, parents=[which], add_help=add_help)

    command("up", "Start everything and return when it is ready.")
    command("servers", "Start database, broker, cache and object store only.")
    command("down", "Stop everything; the data stay.")
    command("psql", "SQL prompt; takes psql's own arguments.", add_help=False)
    status = command("status", "What runs and whether it is well.")
    status.add_argument("--json", action="store_true", help="for programs")
    logs = command("logs", "What the components wrote.")
    logs.add_argument("component", nargs="?", help="one component (default: all)")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines are written")
    logs.add_argument("-n", "--lines", type=int, default=50, help="how many lines to begin with (default: 50)")
    token = command("token", "A bearer token for trying the API.")
    token.add_argument("--org", action="append", default=[], help="organisation id; may be repeated")
    token.add_argument("--role", action="append", default=[], help="may be repeated (default: org:admin)")
    token.add_argument("--admin", action="store_true", help="platform administrator over every organisation")
    token.add_argument("--subject", default="developer", help="who it names (default: developer)")
    token.add_argument("--ttl", type=_seconds, default=12 * 3600, help="how long it holds: 30m, 12h (default: 12h)")
    return parser


def _seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)([smhd])", text)
    if not match or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is not a duration such as 30m or 12h")
    return int(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
