"""The largest files that are read: far above any real one, far below what fills the memory."""

__all__ = [
    "MAX_DEFINITION_BYTES",
    "MAX_HUMAN_SCORES_BYTES",
    "MAX_JUDGED_TABLE_BYTES",
    "MAX_PROMPTS_BYTES",
    "MAX_SETTINGS_BYTES",
]

MAX_SETTINGS_BYTES = 256_000
MAX_DEFINITION_BYTES = 4_000_000
MAX_PROMPTS_BYTES = 4_000_000
MAX_HUMAN_SCORES_BYTES = 64_000_000
# Somebody else's responses: 100,000 of them, 10,000 characters each.
MAX_JUDGED_TABLE_BYTES = 1_000_000_000
