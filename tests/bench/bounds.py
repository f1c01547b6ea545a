"""Bounds of the ratios. `make bench` fails outside them."""

from results import Bound

TO_RAW_NATS = Bound(least=0.6)
TO_FASTSTREAM_DEFAULTS = Bound(least=2)
# Ours is at 0.99 to 1.04; the rest is room for a busy machine.
TO_UNMETERED = Bound(most=1.2)
# Ours is at 2.5; the rest is room for a busy machine.
CPU_TO_BARE = Bound(most=3.5)
# 1.5 million rows a second on two cores, where one core writes 3.8 million lines without drawing anything.
TO_PLAIN_CSV = Bound(least=0.4)
TO_PSQL_COPY = Bound(least=1)
# Ours is at 3.6 to 4.4; the rest is room for a busy machine.
TO_PLAIN_DESIGN = Bound(least=2.5)
