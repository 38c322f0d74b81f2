# SPDX-License-Identifier: MIT
# The program: fetch, against a server on the loopback.
exec python3 "${PLAIT_SOURCE:?}/tests/cli/run" "${PLAIT_BUILD:?}/cli/plait" fetch
