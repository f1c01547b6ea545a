"""Baseline: the plainest loop that writes users as CSV on one core.

Usage: plain_csv.py ROWS FILE

Prints the seconds it took.
"""

import sys
import time
from pathlib import Path

FIRST = ["Anna", "Ben", "Carla", "David", "Eva", "Farid", "Grace", "Hugo"]
LAST = ["Adams", "Berg", "Costa", "Dubois", "Evans", "Fischer", "Garcia", "Hoffmann", "Ivanov", "Jansen", "Kowalski"]
DOMAINS = ["example.com", "example.org", "example.net", "mail.example.com", "post.example.de"]


def write(rows: int, path: Path) -> None:
    with path.open("w") as file:
        file.write("id,name,email\n")
        for n in range(1, rows + 1):
            first, last = FIRST[n % 8], LAST[n % 11]
            file.write(f"{n},{first} {last},{first}.{last}{n}@{DOMAINS[n % 5]}\n")


began = time.perf_counter()
write(int(sys.argv[1]), Path(sys.argv[2]))
print(time.perf_counter() - began)
