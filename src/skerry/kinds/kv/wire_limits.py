"""What both ends of the HTTP API must know: its limits, and the code of a key that is not there.

Source: https://developers.cloudflare.com/api (KV).
"""

from __future__ import annotations

from skerry.kinds.kv.store import VALUE_BYTES_MAX

BULK_BODY_MAX = 100 << 20
GET_MANY_MAX = 100
GET_MANY_BYTES_MAX = VALUE_BYTES_MAX
KEY_NOT_FOUND = 10009
