"""What an export can be written as. Kept light: the process that writes Parquet imports this package, too."""
