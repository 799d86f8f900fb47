#!/bin/sh
# Installs the Debian packages that are missing: packages.sh NAME...
# As root it installs without a question, and without Debian's own database cluster; anybody else is
# told the one line to run.
set -eu
present() {
  case $1 in
    postgresql) ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || command -v initdb >/dev/null 2>&1 ;;
    *) command -v "$1" >/dev/null 2>&1 ;;
  esac
}
missing=
for p in "$@"; do present "$p" || missing="$missing $p"; done
[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
  echo "Please install these with your package manager, then run make again:$missing" >&2
  exit 1
fi
if [ "$(id -u)" -ne 0 ]; then
  echo "Please run this once, then run make again:" >&2
  echo "  sudo apt-get install --yes --no-install-recommends$missing" >&2
  exit 1
fi
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
conf=/etc/postgresql-common/createcluster.d/reeve.conf
if [ ! -e /etc/postgresql-common ]; then
  mkdir -p "$(dirname "$conf")"
  echo "create_main_cluster = false" > "$conf"
  trap 'rm -f "$conf"' EXIT
fi
log=$(mktemp)
if ! { apt-get update && apt-get install --yes --no-install-recommends $missing; } > "$log" 2>&1; then
  tail -n 20 "$log" >&2
  echo "Installing$missing did not work; the lines above say why." >&2
  exit 1
fi
rm -f "$log"
