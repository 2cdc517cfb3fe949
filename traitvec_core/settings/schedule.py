"""When an experiment runs on its own."""

import re
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import field_validator

from traitvec_core.settings.group import SettingGroup

__all__ = ["Schedule"]

# Largest minute, hour, day of month, month and day of week.
_CRON_LARGEST = (59, 23, 31, 12, 7)


class Schedule(SettingGroup):
    """When all traits of an experiment run again.

    Attributes:
        cron: Minute, hour, day of month, month, day of week: `0 3 * * 1` is Mondays at 3:00.
        timezone: An IANA name such as `Europe/Berlin`.
        enabled: Whether it is on at first. The switch in Dagster's UI has the last word.
    """

    cron: str
    timezone: str = "UTC"
    enabled: bool = True

    @field_validator("cron")
    @classmethod
    def _cron_has_five_fields(cls, cron: str) -> str:
        fields = cron.split()
        if len(fields) != len(_CRON_LARGEST) or not all(map(_is_cron_field, fields, _CRON_LARGEST)):
            raise ValueError(
                "is not a cron expression; write minute hour day month weekday, as in '0 3 * * 1'"
                " (Mondays at 3:00)"
            )
        return " ".join(fields)

    @field_validator("timezone")
    @classmethod
    def _timezone_is_known(cls, timezone: str) -> str:
        try:
            ZoneInfo(timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(
                "is not a time zone; use a name such as Europe/Berlin or UTC"
            ) from None
        return timezone


def _is_cron_field(field: str, largest: int) -> bool:
    """Whether a field has only numbers up to `largest`, ranges, steps and names."""
    part = r"(\*|[a-z]{3}(-[a-z]{3})?|(\d{1,2})(-(\d{1,2}))?)(/[1-9]\d?)?"
    if not re.fullmatch(rf"{part}(,{part})*", field, re.IGNORECASE):
        return False
    return all(int(number) <= largest for number in re.findall(r"(?<![/\d])\d+", field))
