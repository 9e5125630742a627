"""The log of scalars, whose every line is JSON."""

import json
import math
from pathlib import Path
from typing import Any

from mmengine import visualization
from mmengine.fileio.handlers.json_handler import set_default
from mmengine.registry import VISBACKENDS


@VISBACKENDS.register_module()
class JsonVisBackend(visualization.LocalVisBackend):
    """mmengine's LocalVisBackend with null for NaN and Infinity, which JSON does not know.

    This project's runner takes it wherever a config names mmengine's. A line is written at once.
    """

    def _dump(self, value_dict: dict[str, Any], file_path: str, file_format: str) -> None:
        content = {key: _finite(value) for key, value in value_dict.items()}
        with Path(file_path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(content, default=set_default) + "\n")


def _finite(value: Any) -> Any:
    number = value.item() if hasattr(value, "item") else value
    return None if isinstance(number, float) and not math.isfinite(number) else value
