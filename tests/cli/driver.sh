# SPDX-License-Identifier: MIT
# The program: order, streams, memory, retries, JSON, progress, output that nobody takes.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" driver
