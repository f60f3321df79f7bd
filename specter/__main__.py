"""``python -m specter``: the same as the ``specter`` command."""

from specter.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
