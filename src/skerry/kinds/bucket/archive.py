"""placeholder"""

from pathlib import Path
from typing import Any


async def export(account: Any, target: Path) -> None: ...
async def restore(account: Any, source: Path) -> None: ...
