#!/usr/bin/env python
"""Trains a classifier: python tools/pretrain_cls.py CONFIG.

Flags, logs and work folder are those of tools/train.py. The last line is the command that hands
the weights to a detector.
"""

import argparse
import os
from pathlib import Path

from convnext_dense.cli import arguments, train
from convnext_dense.config import launcher

# A detector of each size that takes the weights.
DETECTORS = {
    "atto": "mask_rcnn_convnext_a_shapes",
    "tiny": "mask_rcnn_convnext_t_3x",
    "small": "cascade_convnext_s_3x",
    "base": "cascade_convnext_b_3x",
    "large": "cascade_convnext_l_in22k_3x",
    "xlarge": "cascade_convnext_xl_in22k_3x",
}


def parse_args() -> argparse.Namespace:
    parser = arguments.Parser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_config_arguments(parser)
    arguments.add_training_arguments(parser)
    arguments.add_launcher_arguments(parser)
    return parser.parse_args()


def main() -> None:
    args = parse_args()
    arguments.set_local_rank(args.local_rank)
    cfg = train.train(args)
    backbone = cfg.model.backbone
    trained = not (args.replay or args.dry_run)
    if not trained or launcher.rank(args.launcher) or backbone.type != "ConvNeXtClassifier":
        return
    root = Path(os.path.relpath(Path(__file__).resolve().parents[1]))
    config = root / f"configs/detection/{DETECTORS.get(str(backbone.arch), 'CONFIG')}.py"
    data = f" --data-root {args.data_root}" if args.data_root else ""
    print(f"python {root / 'tools/train.py'} {config} --backbone-weights {cfg.work_dir}{data}")


if __name__ == "__main__":
    arguments.run_tool(main)
