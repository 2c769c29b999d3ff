# Run these through ./tools/dev, which brings the environment along: ./tools/dev up

set positional-arguments := true

# The project's own modules are found from wherever the command was called; a recipe itself runs in the project's folder.
export PYTHONPATH := justfile_directory()
export PYTHONUNBUFFERED := "1"

devstack := "python -m tools.devstack"

[private]
default:
    @just --justfile "{{ justfile() }}" --list --unsorted

# Start everything, replay traffic and show what the product makes of it (--trace FILE, --help)
[group('try')]
[no-exit-message]
[no-cd]
demo *arguments:
    @python -m tools.demo "$@"

# Publish usage events to the stream and print an exact ledger (--trace FILE, --rate N, --help)
[group('try')]
[no-exit-message]
[no-cd]
replay *arguments:
    @python -m tools.replay "$@"

# Print a bearer token for the API (--org ID, --role ROLE, --admin, --ttl 12h)
[group('try')]
[no-exit-message]
token *arguments:
    @{{ devstack }} token "$@"

# Check a deployed system, or the dev stack: health, publish → visible, export, denials (--url, --org-id, --json)
[group('try')]
[no-exit-message]
smoke *arguments:
    @python -m tools.smoke "$@"

# Start servers, migrations, services and gateway; return when all are ready
[group('stack')]
[no-exit-message]
up *arguments:
    @{{ devstack }} up "$@"

# Stop all of it; the data stay
[group('stack')]
[no-exit-message]
down *arguments:
    @{{ devstack }} down "$@"

# Show what runs, where, and whether it is well (--json)
[group('stack')]
[no-exit-message]
status *arguments:
    @{{ devstack }} status "$@"

# Show the logs: all, or one component's (-f follows)
[group('stack')]
[no-exit-message]
logs *arguments:
    @{{ devstack }} logs "$@"

# Open a SQL prompt on the stack's database (takes psql's arguments)
[group('stack')]
[no-exit-message]
psql *arguments:
    @{{ devstack }} psql "$@"

# Check everything and run all tests; with arguments, run pytest with them (-k NAME, tests/unit …)
[group('develop')]
[no-exit-message]
test *arguments:
    @if [ $# = 0 ]; then just --justfile "{{ justfile() }}" check; fi
    @{{ devstack }} servers --stack test
    @if [ $# = 0 ]; then python -m pytest --numprocesses 3 --dist loadfile; else python -m pytest "$@"; fi

# Check style, types and boundaries
[group('develop')]
check:
    @echo "ruff check" && ruff check .
    @echo "ruff format" && ruff format --check .
    @echo "mypy" && mypy
    @echo "import-linter" && lint-imports
    @echo "tidy" && python -m tools.tidy

# Rewrite what follows from the settings classes: the README's table, .env.example, the charts' values
[group('develop')]
settings:
    @python -m tools.settings_docs
    @python -m tools.charts.settings_blocks

# Rewrite the OpenAPI documents in contracts/http from what the services serve (--check)
[group('develop')]
[no-exit-message]
openapi *arguments:
    @python -m tools.openapi "$@"

# Rewrite the Grafana dashboards of charts/observability from tools/dashboards
[group('develop')]
dashboards:
    @python -m tools.dashboards

# Rewrite migrations/schema.sql, the readable sum of the migrations
[group('develop')]
schema:
    @{{ devstack }} servers --stack test && python -m tools.schema_snapshot

# Run a benchmark (without a name: list them)
[group('develop')]
[no-exit-message]
bench *arguments:
    @python -m tests.perf "$@"

# Install one service alone, from the lock, and run its unit and contract tests there (ingest, rollup, query-api, export)
[group('release')]
[no-exit-message]
isolated *service:
    @python -m tools.isolated "$@"

# Show what in contracts/ would break callers or producers that rely on another commit (default: origin/main)
[group('release')]
[no-exit-message]
contract-diff *ref:
    @python -m tools.contract_diff "$@"

# Write a software bill of materials (CycloneDX) of one package to standard output
[group('release')]
sbom package:
    @"$UV" export --quiet --preview-features sbom-export --locked --no-dev --format cyclonedx1.5 --package "analytics-{{ package }}"

# Look the locked packages up in the database of known vulnerabilities (needs the network)
[group('release')]
audit:
    @"$UV" export --quiet --locked --all-packages --no-emit-workspace --output-file .dev/requirements.txt >/dev/null
    @"$UV" tool run pip-audit --disable-pip --require-hashes --requirement .dev/requirements.txt
