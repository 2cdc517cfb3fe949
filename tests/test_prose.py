"""The worst words of our prose are gone: plain English says the same, and is easier to read."""

import re
import subprocess

from tests.projects import REPOSITORY

# What is searched for, and what to write instead.
PLAIN = {
    r"\btold\b": "reported, given, or the name of the value",
    r"\btells? of\b": "reports",
    r"\bmend(s|ed|ing)?\b": "fix",
    r"\bheed(s|ed|ing)?\b": "respect, handle, or follow",
    r"\bin vain\b": "failed, or without success",
    r"\bwhoever\b": "the caller, the process, or the user who",
    r"\bat (first or )?second hand\b": "indirectly, or transitive",
    r"\bthe very (same|one|folds)\b": "the same",
    r"\bcomes? to nothing\b": "fails, or has no effect",
    r"\bmade anew\b": "recreated, or rerun",
    r"\bwants a GPU\b": "needs a GPU",
    r"\ba file a stage\b": "one file per stage",
}
# Folders and files that are still to be rewritten. Remove a row when its folder is clean.
EXEMPT: tuple[str, ...] = (
    "benchmarks/gpu.py",
    "docs/comparing.md",
    "docs/comparison.md",
    "docs/extraction_methods.md",
    "docs/operating.md",
    "docs/scaling_out.md",
    "docs/troubleshooting.md",
    "tests/cli/",
    "tests/definitions/",
    "tests/faults/",
    "tests/generation/",
    "tests/graph/",
    "tests/judging/",
    "tests/providers/",
    "tests/scaling/",
    "tests/steering_evaluation/",
    "tests/storage/",
    "traitvec_core/exchange/",
    "traitvec_core/generation/",
    "traitvec_core/judging/",
    "traitvec_core/notebook.py",
    "traitvec_core/storage/",
    "traitvec_core/validation/",
    "traitvec_core/vectors/",
    "traitvec_dagster/cli/",
)
NOT_OURS = (
    "experiments/",
    "tests/test_prose.py",
    "tools/embedded_model/text/",  # the small model's own phrases
    "traitvec_core/embedded/model/",
)


def tracked_files() -> list[str]:
    patterns = ["*.py", "*.md", "*.j2", "*.yaml"]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", *patterns],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [name for name in listed.stdout.splitlines() if (REPOSITORY / name).is_file()]


def test_no_file_uses_the_worst_words() -> None:
    problems = []
    for name in tracked_files():
        if name.startswith((*EXEMPT, *NOT_OURS)):
            continue
        lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
        for number, line in enumerate(lines, start=1):
            problems += [
                f"{name}:{number}: {match[0]!r}: write {plain}"
                for pattern, plain in PLAIN.items()
                for match in re.finditer(pattern, line, re.IGNORECASE)
            ]
    assert not problems, "\n".join(["", *problems])
