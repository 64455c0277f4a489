"""What onggi-runtime leaves out while it imports is there for who asks afterwards."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import sys
sys.path[:] = {path!r}
from onggi.runtime.lean import import_leanly
import_leanly()
absent = [name for name in ("re", "uuid", "decimal", "selectors", "typing_extensions") if name in sys.modules]
import decimal, re, selectors, uuid
import msgspec
print(absent, re.fullmatch("a+", "aaa")[0], uuid.UUID(int=1).int, decimal.Decimal("1.5"), selectors.EVENT_READ)
print(msgspec.json.decode(b'{{"a": [1, 2]}}', type=dict[str, list[int]]))
"""


def test_modules_that_were_left_out_are_the_real_ones_afterwards() -> None:
    script = SCRIPT.format(path=sys.path)
    ended = subprocess.run([sys.executable, "-IS", "-c", script], capture_output=True, text=True, check=False)
    assert ended.stdout == "[] aaa 1 1.5 1\n{'a': [1, 2]}\n", ended.stderr
