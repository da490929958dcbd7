#!/bin/bash
# Whether this container is well: its Ray node answers, or, where it has none, marey starts.
set -euo pipefail
if pgrep -x raylet > /dev/null; then
    wget --tries=1 --timeout=5 --quiet --output-document=- \
        "http://127.0.0.1:${AGENT_PORT:-52365}/api/local_raylet_healthz" | grep --quiet success
else
    marey --version > /dev/null
fi
