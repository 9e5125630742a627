#!/usr/bin/env python
"""Looks at this environment: versions, GPU, operators, known-bad combinations and their fixes.

Exit code 0: usable; 2: something is broken. Runs also where torch or mmdet cannot be imported.
"""

import argparse
import contextlib
import importlib.util
import json
import sys
import warnings
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "convnext_dense/preflight/doctor.py"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", action="store_true", help="print JSON alone to stdout")
    args = parser.parse_args()
    # By its path: importing the package already needs what may be broken.
    spec = importlib.util.spec_from_file_location("doctor", SOURCE)
    doctor = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(doctor)
    warnings.filterwarnings("ignore")
    with contextlib.redirect_stdout(sys.stderr):  # the libraries' chatter is not the answer
        findings = doctor.examine()
    usable = all(finding.state != doctor.BROKEN for finding in findings)
    if args.json:
        rows = [finding._asdict() for finding in findings]
        print(json.dumps(dict(usable=usable, findings=rows), indent=2))
    else:
        for state, topic, found, fix in findings:
            print(f"{state:8} {topic:28} {found}" + (f"\n{'':8} -> {fix}" if fix else ""))
        print("usable" if usable else "broken: mend the lines above that say so")
    return 0 if usable else 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("Interrupted (Ctrl-C).", file=sys.stderr)
        sys.exit(130)
