"""How long to search: a fixed number of requests in the everyday suite, as many as is asked for behind `make fuzz`.

The everyday run is derandomised: it asks the same requests each time, so that it fails for a change and not for luck.
The long run asks new ones each time and prints how to ask them again.
"""

from __future__ import annotations

import os

from hypothesis import HealthCheck, Phase, settings

# Stands for the requests of the largest test; the others take their share of it.
LONG = int(os.environ.get("AUTH_TEST_FUZZ_EXAMPLES", "0"))
SHARES_OF = 1000


def budget(examples: int) -> settings:
    """The settings of a test that asks this many in the everyday suite."""
    return settings(
        max_examples=examples * LONG // SHARES_OF if LONG else examples,
        derandomize=not LONG,
        database=None,
        deadline=None,
        print_blob=bool(LONG),
        # Without the phase that explains: it runs every failure many times more, and a difference explains itself.
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    )
