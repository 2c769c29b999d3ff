"""The dashboards: usage and spend, reliability, pipeline, exports, services."""

from tools.dashboards.pipeline import PIPELINE
from tools.dashboards.rollups import RELIABILITY, USAGE
from tools.dashboards.services import EXPORTS, SERVICES

DASHBOARDS = {
    "usage": USAGE,
    "reliability": RELIABILITY,
    "pipeline": PIPELINE,
    "exports": EXPORTS,
    "services": SERVICES,
}
