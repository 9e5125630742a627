"""An HTML page about runs: ``tools/report.py WORK_DIR... --out report.html``."""
