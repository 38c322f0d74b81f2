# SPDX-License-Identifier: MIT
# The program: --sandbox.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" sandbox
