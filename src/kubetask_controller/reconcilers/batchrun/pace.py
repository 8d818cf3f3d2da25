"""How often a run is looked at, and its status written: what that costs grows with the run, and what it tells does not."""

_MOST_LOOK, _TASKS_A_LOOK = 1.0, 4000
_LEAST_WRITE, _MOST_WRITE, _TASKS_A_WRITE = 1.0, 5.0, 1500


def look_interval(tasks: int) -> float:
    """Seconds between two looks at the Jobs of a run: 0.1 for 400 tasks, 1 from 4,000."""
    return min(_MOST_LOOK, tasks / _TASKS_A_LOOK)


def write_interval(tasks: int) -> float:
    """Seconds between two writes of its status: 1 up to 1,500 tasks, 5 from 7,500. A change of phase does not wait."""
    return min(_MOST_WRITE, max(_LEAST_WRITE, tasks / _TASKS_A_WRITE))
