"""How many tasks of each run a shared limit lets go: max-min fairness, as a pure function.

No owner gets more than it asks for; what is left over goes to those who ask for more; a small run is never starved by
a large one, because everybody is filled to the same level first.
"""

from collections.abc import Mapping


def max_min_shares(capacity: int, demands: Mapping[str, int]) -> dict[str, int]:
    """Shares of ``capacity`` (tasks) for ``demands`` (tasks that run already plus those that wait, per owner).

    The sum of the shares is at most the capacity. What an even division leaves over goes to the owners that come first by
    name, so that the result does not depend on the order in which they asked.
    """
    shares = dict.fromkeys(demands, 0)
    remaining = max(capacity, 0)
    unsatisfied = sorted((want, owner) for owner, want in demands.items() if want > 0)
    while unsatisfied and remaining > 0:
        level = remaining // len(unsatisfied)
        want, owner = unsatisfied[0]
        if want <= level:
            shares[owner] = want
            remaining -= want
            unsatisfied.pop(0)
            continue
        extra = remaining - level * len(unsatisfied)
        for _, name in sorted(unsatisfied, key=lambda pair: pair[1]):
            shares[name] = level + (1 if extra > 0 else 0)
            extra -= 1
        break
    return shares
