#!/bin/sh
# Runs once, when the database's volume is new: the owner of the schema (no superuser, as on a managed service), its
# database, and the services' roles with their password. The migrations grant those roles their rights.
set -eu

psql -v ON_ERROR_STOP=1 --username "$POSTGRES_USER" --dbname postgres \
    -v owner_password="$OWNER_PASSWORD" -v role_password="$ROLE_PASSWORD" <<'SQL'
CREATE ROLE analytics_owner LOGIN CREATEROLE CREATEDB PASSWORD :'owner_password';
GRANT pg_signal_backend TO analytics_owner;
CREATE ROLE analytics_ingest LOGIN PASSWORD :'role_password';
CREATE ROLE analytics_rollup LOGIN PASSWORD :'role_password';
CREATE ROLE analytics_query_api LOGIN PASSWORD :'role_password';
CREATE ROLE analytics_export LOGIN PASSWORD :'role_password';
-- For Grafana: reads what query-api reads, of every organisation, and changes nothing.
CREATE ROLE analytics_dashboards LOGIN IN ROLE analytics_query_api PASSWORD :'role_password';
ALTER ROLE analytics_dashboards SET app.scope = 'platform';
ALTER ROLE analytics_dashboards SET default_transaction_read_only = on;
CREATE DATABASE analytics OWNER analytics_owner TEMPLATE template0;
SQL
