"""Command that writes the dashboards: `python -m dashboards [--check]`."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboards.files import FOLDER, stale


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """Write the files that differ from the code. With `--check`, list them and return 1."""
    parser = argparse.ArgumentParser(prog="dashboards", description="Write the dashboards and the links of alerts.")
    parser.add_argument("--check", action="store_true", help="change nothing, and exit 1 if a file is out of date")
    check: bool = parser.parse_args(arguments).check
    outdated = stale(folder)
    for path, text in outdated.items():
        if check:
            print(f"{path.name} is out of date: run `make dashboards`", file=sys.stderr)
        elif text is None:
            path.unlink()
            print(f"{path.name}: removed")
        else:
            path.write_text(text)
            print(f"{path.name}: written")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
