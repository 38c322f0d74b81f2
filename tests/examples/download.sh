# SPDX-License-Identifier: MIT
# The example programs: download.
exec python3 "${PLAIT_SOURCE:?}/tests/examples/run" "${PLAIT_BUILD:?}/examples" download
