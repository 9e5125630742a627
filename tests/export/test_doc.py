"""docs/export.md: its service, run as written."""

import json
import re
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import cv2
import numpy as np
import pytest

from convnext_dense.export.parity.pictures import drawn_pictures

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/export.md").read_text(encoding="utf-8")


def test_the_service_answers_with_what_the_model_finds(detector, tmp_path):
    (program,) = (
        block
        for block in re.findall(r"^```python\n(.*?)^```", TEXT, flags=re.DOTALL | re.MULTILINE)
        if "HTTPServer" in block
    )
    image = np.ascontiguousarray(drawn_pictures(3, 1).images[0][..., ::-1])
    content = cv2.imencode(".png", image)[1].tobytes()
    words = [sys.executable, "-c", program, str(detector.folder), "0"]
    with subprocess.Popen(
        words, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as one:
        try:
            address = one.stdout.readline().decode().strip()
            with urllib.request.urlopen(address, content, timeout=60) as answer:
                found = json.load(answer)
            with pytest.raises(urllib.error.HTTPError, match="415: This is no image"):
                urllib.request.urlopen(address, b"words", timeout=60)
        finally:
            one.terminate()
    expected = detector.runtimes["onnxruntime"](image, bgr=True).to_dict()
    assert found["detections"] == expected["detections"] and len(found["detections"]) > 3
