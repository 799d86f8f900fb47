#!/bin/sh
# Gives the two logins their passwords when the database is made; run by the postgres image.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --dbname reeve \
  --set app="$REEVE_APP_PASSWORD" --set migrator="$REEVE_MIGRATOR_PASSWORD" <<'SQL'
ALTER ROLE reeve_app LOGIN PASSWORD :'app';
ALTER ROLE reeve_migrator LOGIN PASSWORD :'migrator';
SQL
