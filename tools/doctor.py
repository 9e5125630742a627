#!/usr/bin/env python
"""Looks at this environment: versions, GPU, operators, known-bad combinations and their fixes.

Exit code 0: usable; 2: something is broken. Runs also where torch or mmdet cannot be imported.
"""

import argparse
import importlib.util
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "convnext_dense/preflight/doctor.py"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    # By its path: the package may not be installed, and an old Python cannot read it.
    spec = importlib.util.spec_from_file_location("doctor", SOURCE)
    doctor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(doctor)
    return doctor.run(parser.parse_args())


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Interrupted (Ctrl-C).", file=sys.stderr)
        sys.exit(130)
