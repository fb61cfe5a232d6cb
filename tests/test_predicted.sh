#!/usr/bin/env bash
# test_predicted.sh - the predicted table in README is what the kernels' facts give now.
#
#   tests/test_predicted.sh PREDICT_GOALS README
set -eu
wanted=$("$1")
found=$(sed -n '/^<!-- predicted/,/^<!-- end/p' "$2" | grep '^|') || found=
[ "$wanted" = "$found" ] && exit 0
diff <(printf '%s\n' "$found") <(printf '%s\n' "$wanted") || true
echo "README has another table: put the output of $1 between its marks"
exit 1
