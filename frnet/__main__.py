"""``python -m frnet`` is the command ``frnet``."""

from frnet.cli import main

if __name__ == "__main__":
    main()
