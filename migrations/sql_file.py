"""Runs one migration's SQL file as it stands."""

from pathlib import Path

from alembic import op

SQL_FOLDER = Path(__file__).parent / "sql"


def run_sql_file(name: str) -> None:
    """Execute `migrations/sql/<name>`, which may hold several statements, inside the migration's transaction."""
    cursor = op.get_bind().connection.cursor()
    # The driver's own cursor: without parameters it sends the text unparsed, so `%` and `:` mean themselves.
    cursor.execute((SQL_FOLDER / name).read_text(encoding="utf-8"))
    cursor.close()
