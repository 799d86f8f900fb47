#!/bin/sh
# Hands the database to its owner and gives the two logins their passwords; run once by the postgres
# image, after the roles were made.
set -eu
psql --set ON_ERROR_STOP=1 --no-psqlrc --username postgres --dbname reeve \
  --set app="$REEVE_APP_PASSWORD" --set migrator="$REEVE_MIGRATOR_PASSWORD" <<'SQL'
ALTER ROLE reeve_app PASSWORD :'app';
ALTER ROLE reeve_migrator PASSWORD :'migrator';
ALTER DATABASE reeve OWNER TO reeve_owner;
REVOKE ALL ON DATABASE reeve FROM PUBLIC;
GRANT CONNECT ON DATABASE reeve TO reeve_app, reeve_migrator;
SQL
