"""`python -m dashboards`: writes the dashboards, or with `--check` tells which are out of date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from dashboards.files import FOLDER, stale


def main(arguments: list[str] | None = None, folder: Path = FOLDER) -> int:
    """The exit code: 1 when `--check` found a file that is not as the code has it."""
    parser = argparse.ArgumentParser(prog="dashboards", description=(__doc__ or "").partition(": ")[2])
    parser.add_argument("--check", action="store_true", help="change nothing; exit 1 when a file is out of date")
    check: bool = parser.parse_args(arguments).check
    outdated = stale(folder)
    for path, wanted in outdated.items():
        if check:
            print(f"{path.name} is out of date: run `make dashboards`", file=sys.stderr)
        elif wanted is None:
            path.unlink()
            print(f"{path.name}: removed")
        else:
            path.write_text(wanted)
            print(f"{path.name}: written")
    return 1 if check and outdated else 0


if __name__ == "__main__":
    sys.exit(main())
