# SPDX-License-Identifier: MIT
# The example programs: decode.
exec python3 "${PLAIT_SOURCE:?}/tests/examples/run" "${PLAIT_BUILD:?}/examples" decode
