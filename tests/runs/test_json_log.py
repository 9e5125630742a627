"""The log of scalars is JSON, also where a loss is no number."""

import json
import math

import numpy as np
import torch
from mmengine.registry import VISBACKENDS

import convnext_dense.engine  # noqa: F401  (registers the backend)
from convnext_dense.runs.saved_files import read_json_lines


def test_every_line_is_json(tmp_path):
    backend = VISBACKENDS.build(dict(type="JsonVisBackend", save_dir=str(tmp_path)))
    row = dict(loss=math.nan, b=np.float32("inf"), c=torch.tensor(-math.inf), d=np.int64(3), e=0.5)
    backend.add_scalars({**row, "c": row["c"].item()}, step=1)
    backend.add_scalar("lr", torch.tensor(math.nan), step=2)
    backend.add_scalar("lr", 0.25, step=3)

    def refuse(name: str):
        raise AssertionError(f"{name} is no JSON")

    lines = (tmp_path / "scalars.json").read_text().splitlines()
    rows = [json.loads(line, parse_constant=refuse) for line in lines]
    assert rows == [
        dict(loss=None, b=None, c=None, d=3, e=0.5, step=1),
        dict(lr=None, step=2),
        dict(lr=0.25, step=3),
    ]
    read, torn = read_json_lines(tmp_path / "scalars.json")  # what the report sees
    assert not torn and math.isnan(read[0]["loss"]) and read[2] == dict(lr=0.25, step=3)
