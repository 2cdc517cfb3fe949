"""Count what the linter finds in folders of trait definitions, by rule.

python benchmarks/lint_published.py [--list] [FOLDER…]

Without a folder: the published definitions in ../shared/data, where they are. `--list` prints every
finding with its text, to judge by hand which are false alarms.
"""

import argparse
import sys
from collections import Counter
from pathlib import Path

from traitvec_core.errors import TraitvecError
from traitvec_core.trait import parse_definition
from traitvec_core.validation.lint import lint

PUBLISHED = Path(__file__).parents[2] / "shared" / "data" / "persona_vectors"


def main() -> None:
    """Print a table of the findings of every definition below the folders."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", nargs="*", type=Path, default=[PUBLISHED])
    parser.add_argument("--list", action="store_true", help="print every finding")
    arguments = parser.parse_args()
    counts: Counter[tuple[str, str]] = Counter()
    n_files = n_clean = 0
    for path in sorted(path for folder in arguments.folders for path in folder.rglob("*.json")):
        try:
            definition = parse_definition(path.read_bytes(), str(path))
        except TraitvecError:
            continue  # Not a trait definition.
        name = path.parent.name if path.name == "trait_definition.json" else path.stem
        findings = lint(definition, name)
        n_files += 1
        n_clean += not findings
        for finding in findings:
            counts[finding.severity, finding.rule] += 1
            if arguments.list:
                write(f"{name} {finding.place} {finding.rule}: {finding.reason}")
    write(f"{sum(counts.values())} findings in {n_files} definitions, {n_clean} without any\n")
    write("| rule | findings | severity |\n| --- | --- | --- |")
    for (severity, rule), count in counts.most_common():
        write(f"| `{rule}` | {count} | {severity} |")


def write(line: str) -> None:
    """Print one line."""
    sys.stdout.write(f"{line}\n")


if __name__ == "__main__":
    main()
