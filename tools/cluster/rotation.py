"""Replace logins of NATS without a gap: two are valid at a time.

First the servers learn a new login. Then the Secret shows it, and running pods have it within two minutes. At last the
servers forget the old one, which ends its connections. Run it again after an interruption, and it goes on.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

import environments
import nats_users
from cluster import bootstrap
from cluster.errors import ClusterError, run
from cluster.nats_logins import ROUTES, Logins, Place, newest_first, newest_only, with_a_new_one
from cluster.owned import hand_over, is_ours, present
from keda_jobs.cli.terminal import confirm
from keda_jobs.errors import JobError

# The kubelet needs up to a minute and a half to bring a changed Secret into a pod.
_ARRIVED_S = 120
_SAID_S = 30


def rotate(names: list[str], *, yes: bool) -> bool:
    """Replace the logins of these users. Return whether the old ones are given up. Raises `ClusterError`."""
    places = _places(names)

    def change(step: Callable[[Logins], Logins]) -> str:
        return bootstrap.make_nats_users(lambda place, logins: step(logins) if place in places else logins)

    bootstrap.load_nats_users(change(with_a_new_one))
    change(newest_first)
    for left_s in range(_ARRIVED_S, 0, -_SAID_S):
        bootstrap.say(f"new logins: up to {left_s} s until all pods have them")
        time.sleep(_SAID_S)
    question = f"End the old logins of {', '.join(names)}? Applications outside the jobs need the new ones before."
    if not yes and not confirm(question, "end the old logins"):
        bootstrap.say("both logins are valid; run this again to end the old ones")
        return False
    bootstrap.load_nats_users(change(newest_only))
    bootstrap.say("old logins: ended")
    return True


def _places(names: list[str]) -> set[Place]:
    if not environments.current().nats_namespace:
        raise ClusterError("this environment uses a NATS of yours; change the login there")
    secrets = {one["metadata"]["name"]: one for one in nats_users.wanted(nats_users.users(), {})}
    users = {name.removeprefix("nats-") for name in secrets} - {"auth", ROUTES}
    if unknown := sorted(set(names) - users):
        raise ClusterError(
            f"no NATS user can be replaced by the name {unknown[0]}; there are {' '.join(sorted(users))}"
        )
    found = present(secrets[f"nats-{name}"] for name in names)
    if len(found) < len(names):
        raise ClusterError("a Secret of these users is missing; run the setup first")
    for place, one in found.items():
        if not is_ours(one):
            raise ClusterError(f"somebody else made {place[1]} in {place[0]}; {hand_over(*place)}")
    return set(found)


def main() -> int:
    """Replace logins and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cluster.rotation", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="USER", help="NATS user, such as a job, admin or publisher")
    parser.add_argument("--yes", action="store_true", help="do not ask before the old logins end")
    given = parser.parse_args()
    try:
        return 0 if rotate(given.names, yes=given.yes) else 1
    except JobError as error:
        raise ClusterError(str(error)) from error


if __name__ == "__main__":
    sys.exit(run("rotation", main))
