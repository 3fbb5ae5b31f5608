#!/usr/bin/env bash
# Audit a model and fail when it does not meet what is required, or when it lost something since the baseline.
#
#   gate.sh [FOLDER]     the runs are kept in FOLDER, by default ./gate; the first one made there is the baseline
#
# Exit codes are those of snellen audit: 0 all is met, 2 wrong input, 3 a requirement is not met or a figure got worse.
# MODEL, DATA and REQUIRE replace what is audited and what is required.
set -euo pipefail

folder=${1:-gate}
model=${MODEL:-bundled:fashion-cnn}
data=${DATA:-bundled:fashion-mnist}
require=${REQUIRE:-clean.accuracy>=0.85}

# The same images, checks and seed in every run: only then is each image compared with itself.
audit() {
  snellen audit "$model" "$data" --limit 200 --checks clean,calibration,corruption \
    --set 'corruption.kinds=["gaussian_noise", "jpeg_compression"]' --set 'corruption.severities=[1, 3]' "$@"
}

mkdir -p "$folder"
if [ ! -f "$folder/baseline/report.json" ]; then
  audit --out "$folder/baseline"
fi

run=$(mktemp -d "$folder/run-XXXXXX")
audit --out "$run" \
  --require "$require" \
  --require 'calibration.ece.value<=0.10' \
  --require 'corruption.gaussian_noise.1.accuracy>=0.70' \
  --fail-on severe \
  --baseline "$folder/baseline" \
  --junit "$folder/snellen.xml"
