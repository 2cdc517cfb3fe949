"""Plain English: phrases that readers stumble over, each with what to write instead."""

import re
import subprocess
from pathlib import Path

from tests.projects import REPOSITORY

PLAIN = {
    r"\b(?:is|are|was|were|be|been) told\b": "is reported / receives",
    r"\btells? of\b|\btold of\b": "reports",
    r"\bmend(?:s|ed|ing)?\b": "fix",
    r"\bheed(?:s|ed|ing)?\b": "handle / respect",
    r"\bin vain\b": "failed / without result",
    r"\bwhoever\b": "the caller / the process that",
    r"\bat (?:first or )?second hand\b": "indirectly / transitive",
    r"\bthe very (?:same|folds|first)\b": "the same",
    r"\bcomes? to nothing\b": "fails / has no effect",
    r"\bmade anew\b": "recreated / rerun",
    r"\bwants? a (?:GPU|judge|model)\b": "needs a",
    r"\ba (?:file|line|section) an? (?:stage|trait|method|engine|check|model)\b": "one … per …",
}
SUFFIXES = {".py", ".md", ".j2", ".yaml"}
# Phrases to learn from, and this list itself.
# A list of words is no prose.
EXEMPT = (
    "tools/embedded_model/text/",
    "tests/test_prose.py",
    "traitvec_core/validation/stop_words.py",
)


def findings(path: Path) -> list[str]:
    """Each bad phrase of a file as `file:line: phrase → plain alternative`."""
    return [
        f"{path.relative_to(REPOSITORY)}:{number}: {match[0]!r} → {plain}"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for pattern, plain in PLAIN.items()
        for match in re.finditer(pattern, line, re.I)
    ]


def test_no_file_uses_the_worst_phrases() -> None:
    command = ["git", "ls-files"]
    listed = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    paths = [
        REPOSITORY / name
        for name in listed.stdout.splitlines()
        if Path(name).suffix in SUFFIXES and not name.startswith(EXEMPT)
    ]
    assert len(paths) > 20
    found = [finding for path in paths if path.exists() for finding in findings(path)]
    assert not found, "\n".join(found)


def test_a_bad_phrase_is_reported_with_its_line() -> None:
    page = REPOSITORY / "tests" / "test_prose.py"
    number = page.read_text(encoding="utf-8").splitlines().index("# It fails in vain.") + 1
    assert f"tests/test_prose.py:{number}: 'in vain' → failed / without result" in findings(page)


# It fails in vain.
