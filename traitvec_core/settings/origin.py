"""Where settings come from: the experiment's file, or the caller, who answers for them."""

from typing import Any

from pydantic import PrivateAttr

from traitvec_core.settings.group import SettingGroup

__all__ = ["SettingsWithOrigin", "replaced"]


class _Origin:
    """The settings that the caller gave; None if there was no file.

    All origins are equal: settings are the same settings wherever they come from.
    """

    def __init__(self, given: frozenset[str] | None = None) -> None:
        self.given = given

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Origin)

    def __hash__(self) -> int:
        return 0


class SettingsWithOrigin(SettingGroup):
    """Settings that know which of them the caller gave in place of the file's."""

    _origin: _Origin = PrivateAttr(default_factory=_Origin)

    def is_from_file(self, setting: str) -> bool:
        """Whether a setting was read from the file: nobody gave it in code or as a flag.

        Args:
            setting: Its name; dotted for one of a group, such as `scorers.refusal`.
        """
        names = setting.split(".")
        prefixes = {".".join(names[: n + 1]) for n in range(len(names))}
        return self._origin.given is not None and not prefixes & self._origin.given

    def record_origin(self, given: frozenset[str]) -> None:
        """Record that all but these settings, by their dotted names, were read from a file."""
        self._origin = _Origin(given)


def replaced(raw: Any, path: list[str], value: Any) -> dict[str, Any]:
    """Return `raw` with one setting replaced; a value in place of a group is dropped."""
    settings = dict(raw) if isinstance(raw, dict) else {}
    name, *rest = path
    settings[name] = replaced(settings.get(name), rest, value) if rest else value
    return settings
