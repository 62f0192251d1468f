"""How weights and temperatures change during training, and which examples count."""

from edgekd.distill.schedules.base import SCHEDULES, TEMPERATURES, Moment, Schedule, Temperature

__all__ = ["SCHEDULES", "TEMPERATURES", "Moment", "Schedule", "Temperature"]
