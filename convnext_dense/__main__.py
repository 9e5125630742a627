"""``python -m convnext_dense``: the command ``convnext-dense``."""

from convnext_dense.cli.main import main

if __name__ == "__main__":
    main()
