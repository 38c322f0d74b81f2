# SPDX-License-Identifier: MIT
# The program: the jobs that need no network.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" jobs
