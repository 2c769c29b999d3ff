"""What the database is asked. Every query takes an `OrgScope`."""
