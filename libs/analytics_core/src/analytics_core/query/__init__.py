"""What is asked of the rollups, and the SQL that answers it: query-api and export must count the same way.

question  what is wanted: range, zone, granularity, filters, grouping
zones     the buckets of a time zone, as instants
plan      which rows of which tables hold each event of the range exactly once
tables    the tables as SQLAlchemy sees them
statements the SQL of a plan, and the values for it
"""
