"""How many connections a process may hold: each is a descriptor, and there may be more of them than 1,024.

That is the usual soft limit, of a time when `select` could watch no more; nothing here uses it. With it, one client
that opened 1,050 connections and said nothing closed a door to everybody: no file, no database and no other client had
a descriptor left.
"""

import resource

RESERVE = 128  # descriptors for the database, the log, mail and what Python opens
UNLIMITED = 65_536  # where the hard limit is none, as on macOS, whose kernel refuses "none" as a soft one


def raise_limit() -> None:
    """Raise the soft limit of open files to the hard one; processes that are started here inherit it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = UNLIMITED if hard == resource.RLIM_INFINITY else hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def connections_at_once() -> int:
    """Return how many connections a process takes before those after them wait to be accepted."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = UNLIMITED if soft == resource.RLIM_INFINITY else min(soft, UNLIMITED)
    return max(limit - RESERVE, limit // 2)
