# SPDX-License-Identifier: MIT
# The example programs: forward.
exec python3 "${PLAIT_SOURCE:?}/tests/examples/run" "${PLAIT_BUILD:?}/examples" forward
