#!/bin/sh
# Says what is missing before anything is built: check-tools.sh GO_MIN NODE_MIN
set -eu
fail=0
newer() { [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$1" ]; }
need() { # name, minimum, found
  if [ -z "$3" ]; then echo "Reeve needs $1 $2 or newer, and there is none on the PATH." >&2; fail=1
  elif ! newer "$2" "$3"; then echo "Reeve needs $1 $2 or newer; found $3." >&2; fail=1; fi
}
need Go "$1" "$(go env GOVERSION 2>/dev/null | sed 's/^go//' || true)"
need Node.js "$2" "$(node --version 2>/dev/null | sed 's/^v//' || true)"
for tool in npm git; do
  command -v "$tool" >/dev/null 2>&1 || { echo "Reeve needs $tool, and there is none on the PATH." >&2; fail=1; }
done
exit $fail
