"""Two experiments that elicit one trait, `demo` by instructions and `other` by scenarios."""

import shutil
from pathlib import Path
from typing import Any

from tests.conftest import MakeOnce
from tests.graph.test_scenarios import OPENINGS
from tests.projects import SmallProject, demo_definition, write_experiment

__all__ = ["two_elicitations"]

SETTINGS: dict[str, Any] = {"n_examples": 20, "methods": ["mean_diff"], "layers": [2, 3]}


def two_elicitations(make_once: MakeOnce, new_instance: Path) -> Path:
    """Return a project's folder: copy it, don't change it.

    Only `demo` names the other; it is finished, and `other` has got its vectors after that.
    """

    def fill(folder: Path) -> None:
        shutil.copytree(new_instance, folder / ".dagster")
        asked = {**SETTINGS, "second_elicitation": "other", "style_stress": 6}
        write_experiment(folder, "demo", ["refusal"], asked)
        write_experiment(folder, "other", ["refusal"], {**SETTINGS, "elicitation": "scenarios"})
        definition = demo_definition("refusal")
        definition["scenarios"] = [{"pos": pos, "neg": neg} for pos, neg in OPENINGS]
        with SmallProject(folder) as project:
            for experiment in ("demo", "other"):
                project.define("refusal", definition, experiment)
            run = project.run("refusal")
            assert run.is_success, run.problems
            assert project.run("refusal", experiment="other", select="+vectors").is_success

    return make_once("two-elicitations", fill)
