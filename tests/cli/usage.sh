# SPDX-License-Identifier: MIT
# The program: help, options, and what is said of wrong ones.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" usage
