"""What `dg scaffold defs` writes for the component: a commented `defs.yaml`."""

from pathlib import Path

import dagster as dg
import yaml
from pydantic import BaseModel, Field

__all__ = ["ExperimentsScaffolder"]

_DEFS_YAML = """\
type: {type_name}

attributes:
  # The folder that holds the experiments, relative to the project (where pyproject.toml is); or a
  # list of folders. No two experiments of a code location may have the same name.
  experiments: {experiments}

  # Where the steps of runs from the UI run: in_process (steps share the loaded model),
  # multiprocess, ray or k8s. Holds for all assets of this code location. null leaves the executor
  # to the project's other definitions, or to another component of this kind.
  executor: in_process
"""


class _Params(BaseModel):
    experiments: str | None = Field(
        None,
        description="Folder of the experiments, relative to the project. Default: the name of the"
        " defs folder.",
    )


class ExperimentsScaffolder(dg.Scaffolder[_Params]):
    """Writes `defs.yaml`, and creates the folder of experiments that it names."""

    @classmethod
    def get_scaffold_params(cls) -> type[_Params]:
        """Return the model of the command's options."""
        return _Params

    def scaffold(self, request: dg.ScaffoldRequest[_Params]) -> None:
        """Write the files of one component."""
        if request.scaffold_format == "python":
            dg.scaffold_component(request)
            return
        target = request.target_path
        folder = target.parent if request.append else target
        experiments = request.params.experiments or folder.name
        text = _DEFS_YAML.format(
            type_name=request.type_name, experiments=yaml.safe_dump(experiments).splitlines()[0]
        )
        if request.append:
            with target.open("a", encoding="utf-8") as file:
                file.write(f"---\n{text}")
        else:
            (target / "defs.yaml").write_text(text, encoding="utf-8")
        # Loading refuses a folder that does not exist, for the name may be misspelt.
        (Path(request.project_root or ".") / experiments).mkdir(parents=True, exist_ok=True)
