# SPDX-License-Identifier: MIT
# The program: Ctrl-C and its relatives.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" interrupt
