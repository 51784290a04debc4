"""What the site itself adds to the service: health, error codes, documentation and pages."""

from core.capability import Capability
from core.contract.operation import Tag
from core.site.operations import OPERATIONS
from core.site.problems import PROBLEMS

SITE = Capability(
    name="site",
    operations=OPERATIONS,
    problems=PROBLEMS,
    tags={Tag.HEALTH: "For the one who runs it."},
)
