# SPDX-License-Identifier: MIT
# The program: --journal and --resume, after kills and torn writes.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" journal
