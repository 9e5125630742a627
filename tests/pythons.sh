#!/usr/bin/env bash
# Installs, imports and unit-tests the project on every Python 3.10 to 3.13 found on this machine.
set -euo pipefail
cd "$(dirname "$0")/.."
for version in 3.10 3.11 3.12 3.13; do
    python=""
    for candidate in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
        if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')" \
            2>/dev/null; then
            python=$candidate
            break
        fi
    done
    if [ -z "$python" ]; then
        echo "Python $version: not found, not tried"
        continue
    fi
    echo "Python $version: $("$python" --version) at work"
    make --no-print-directory PYTHON="$python" VENV=".venv-$version" install
    ".venv-$version/bin/python" -c "import convnext_dense, mmdet.models, mmseg.models"
    ".venv-$version/bin/python" -m pytest
done
