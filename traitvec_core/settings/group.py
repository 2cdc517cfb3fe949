"""What every group of settings has in common."""

from pydantic import BaseModel, ConfigDict

__all__ = ["SettingGroup"]


class SettingGroup(BaseModel):
    """A group of settings: unknown keys are errors, and values cannot be changed after reading."""

    # Unknown keys are errors: a misspelt threshold must not silently leave the default in force.
    # Messages do not repeat the input: an address may contain a password.
    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, hide_input_in_errors=True
    )
