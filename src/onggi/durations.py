"""Lengths of time as docker says them: `2 hours`, `About a minute` (docker/go-units, HumanDuration).

The engine writes them into a container's status, the command line into its columns; tools parse the text.
"""


def human_duration(seconds: float) -> str:
    """Minutes are cut, hours rounded; from 48 hours on days, then weeks, months of 30 days, years."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = whole // 60
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    if hours < 48:
        return f"{hours} hours"
    for limit, size, name in ((24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 365 * 2, 24 * 30, "months")):
        if hours < limit:
            return f"{hours // size} {name}"
    return f"{int(seconds / 3600 / 24 / 365)} years"
