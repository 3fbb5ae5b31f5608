#!/usr/bin/env bash
# The audit of action.yml, by variables of the environment: MODEL, DATA, OUT, and where they are not empty REQUIRE and
# ARGUMENTS (one a line), FAIL_ON and BASELINE. The exit code is that of snellen audit: 3, a requirement is not met.
# Run here: tests/test_packaging.py runs it.
set -euo pipefail

if [[ "$OUT" == *$'\n'* ]]; then
  echo "error: the input out has more than one line; expected the path of a folder" >&2
  exit 2
fi
arguments=()
while IFS= read -r line; do
  [ -z "$line" ] || arguments+=(--require "$line")
done <<<"${REQUIRE:-}"
while IFS= read -r line; do
  [ -z "$line" ] || arguments+=("$line")
done <<<"${ARGUMENTS:-}"
[ -z "${FAIL_ON:-}" ] || arguments+=(--fail-on "$FAIL_ON")
[ -z "${BASELINE:-}" ] || arguments+=(--baseline "$BASELINE")

code=0
snellen audit --out "$OUT" --junit "$OUT/junit.xml" ${arguments[@]+"${arguments[@]}"} -- "$MODEL" "$DATA" || code=$?
if [ -n "${GITHUB_OUTPUT:-}" ]; then
  printf 'report=%s\n' "$OUT/report.html" >>"$GITHUB_OUTPUT"
fi
exit "$code"
