"""How much a search asks: a fixed number of examples in the short round, as many as fit into its minutes in a long one.

The short round is derandomised: it asks the same requests each time, so that it fails for a change and not for luck.
A long one asks new ones each time and prints how to ask them again.
"""

from __future__ import annotations

from hypothesis import HealthCheck, Phase, settings

from lab.rounds import IS_LONG, times

A_MINUTE = 2  # rounds as long as the short one: at ten minutes, 24,000 requests are asked of both doors


def budget(examples: int) -> settings:
    """Return the settings of a test that tries so many examples in the short round."""
    return settings(
        max_examples=times(examples, a_minute=A_MINUTE * examples),
        derandomize=not IS_LONG,
        database=None,
        deadline=None,
        print_blob=IS_LONG,
        # Without the phase that explains: it runs every failure many times more, and a difference explains itself.
        phases=(Phase.explicit, Phase.generate, Phase.shrink),
        suppress_health_check=(HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much),
    )
