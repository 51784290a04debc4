"""The error of an attempt that comes too soon."""

import math
from datetime import timedelta

from core.errors import AuthError


class TooManyAttempts(AuthError):
    """Too many attempts were made; carries the whole seconds to wait before the next one."""

    code = "too_many_attempts"
    detail = "There were too many attempts. Wait for the seconds in Retry-After."

    def __init__(self, wait: timedelta = timedelta(seconds=1)) -> None:
        self.retry_after = max(1, math.ceil(wait.total_seconds()))
        super().__init__()
