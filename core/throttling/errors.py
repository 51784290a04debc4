"""What an attempt that comes too soon is refused with."""

import math
from datetime import timedelta

from core.errors import AuthError


class TooManyAttempts(AuthError):
    """Too many attempts were made; carries the whole seconds after which the next one is looked at."""

    code = "too_many_attempts"
    detail = "There were too many attempts. Wait for the seconds in Retry-After."

    def __init__(self, pause: timedelta = timedelta(seconds=1)) -> None:
        self.retry_after = max(1, math.ceil(pause.total_seconds()))
        super().__init__()
