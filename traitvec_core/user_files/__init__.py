"""Readers of the files that people write: bounded, and strict where a mistake would be silent."""

from traitvec_core.user_files.json_file import parse_json
from traitvec_core.user_files.limits import (
    MAX_DEFINITION_BYTES,
    MAX_HUMAN_SCORES_BYTES,
    MAX_JUDGED_TABLE_BYTES,
    MAX_PROMPTS_BYTES,
    MAX_SETTINGS_BYTES,
)
from traitvec_core.user_files.table import Row, parse_table
from traitvec_core.user_files.text import parse_text, read_file
from traitvec_core.user_files.yaml_file import parse_yaml

__all__ = [
    "MAX_DEFINITION_BYTES",
    "MAX_HUMAN_SCORES_BYTES",
    "MAX_JUDGED_TABLE_BYTES",
    "MAX_PROMPTS_BYTES",
    "MAX_SETTINGS_BYTES",
    "Row",
    "parse_json",
    "parse_table",
    "parse_text",
    "parse_yaml",
    "read_file",
]
