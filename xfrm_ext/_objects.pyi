from typing import Any

PolicyMaker: Any
