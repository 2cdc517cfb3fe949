"""The check `definition` in Dagster shows what the linter finds, as text that stays text."""

import json

from tests.projects import SmallProject
from traitvec_core.settings.trait_form import scaffold_definition


def test_findings_are_a_table_in_the_checks_metadata(empty: SmallProject) -> None:
    raw = json.loads(scaffold_definition("flattery", example=True))
    raw["questions"][:2] = [
        "How does a <b>sailing</b> | [boat](x) cross oceans?",
        "How do <b>sailing</b> | [boats](x) cross an ocean?",
    ]
    raw["questions"][2] = "Is tea healthy?"
    folder = empty.trait("flattery")
    folder.path.mkdir()
    folder.definition_path.write_text(json.dumps(raw))
    done = empty.run("flattery", select="definition")
    assert done.verdicts == {"definition": "warn"}
    (check,) = empty.evaluations(done.run_id)
    table = str(check.metadata["findings"].value)
    assert "| severity | place | rule | reason | fix |" in table
    assert "yes\\_no\\_question" in table
    assert "&lt;b&gt;sailing&lt;/b&gt; \\| \\[boat\\]" in table
    assert (check.metadata["warnings"].value, check.metadata["hints"].value) == (1, 1)
