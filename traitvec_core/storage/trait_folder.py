"""The folder of a trait, and how stages read and write it.

A stage writes its files first and its metadata last, each atomically. The metadata holds the hash
of every file, so a mixture of old and new files after a crash is recognised and redone.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from traitvec_core.errors import TraitvecError
from traitvec_core.models.response_ids import ResponseIds
from traitvec_core.stage_names import METADATA_FILE, Stage
from traitvec_core.storage.bucket_sync import WorkingCopy, configured_working_copy
from traitvec_core.storage.file_hashes import hashes_in
from traitvec_core.storage.files import (
    ACTIVATIONS_FILE,
    GENERATED_IDS_FILE,
    OPPOSITE_FILE,
    RESTYLED_FILE,
    display_path,
    remove_leftovers,
    written_aside,
)
from traitvec_core.storage.formats import load_tensor, parse_csv, parse_token_ids
from traitvec_core.storage.journal import Journal
from traitvec_core.storage.manifests import (
    Recommendation,
    RecommendedByReport,
    RecommendedBySeparation,
    RecommendedBySteering,
    StageManifest,
)
from traitvec_core.storage.provenance import Provenance, content_hash
from traitvec_core.storage.stage_record import data_version, dump_record, parse_provenance
from traitvec_core.storage.trait_files import TraitFiles
from traitvec_core.storage.tree import path_to_write, remove_inside
from traitvec_core.storage.vector_verdict import NOT_JUDGED

if TYPE_CHECKING:
    import pandas as pd
    import torch

__all__ = ["TraitFolder"]

_Manifest = TypeVar("_Manifest", bound=StageManifest)


class TraitFolder(TraitFiles):
    """One trait on disk: `experiments/<experiment>/<trait>/`, and the results of its stages."""

    def sibling(self, name: str) -> "TraitFolder":
        """Return another trait's folder in the same experiment."""
        return TraitFolder(self.path.parent, name)

    # -- syncing with a bucket, if `TRAITVEC_STORAGE` names one -------------------------------

    def refresh(self) -> None:
        """Sync the trait with the storage in both directions. No-op without a storage.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """
        if (copy := self._working_copy) is not None:
            copy.refresh(f"{self.experiment}/{self.name}")
            copy.put_unfinished(self)

    def fetch(self, stage: Stage) -> None:
        """Download a stage's files if this folder lacks them. No-op without a storage.

        Raises:
            TraitvecError: If the storage refuses, stays unreachable, or has other files.
        """
        copy, provenance = self._working_copy, self.provenance(stage)
        if copy is None or provenance is None or self.is_here(provenance):
            return
        if copy.holds(self, provenance):
            copy.fetch(self, provenance)

    def remove_from_storage(self) -> None:
        """Remove the trait from the storage; this folder is kept. No-op without a storage.

        Raises:
            TraitvecError: If the storage refuses, or stays unreachable.
        """
        if (copy := self._working_copy) is not None:
            copy.remove(self)

    @property
    def _working_copy(self) -> WorkingCopy | None:
        return configured_working_copy(self.path.parent.parent)

    # -- results of stages --------------------------------------------------------------------

    def provenance(self, stage: Stage) -> Provenance | None:
        """Return the recorded provenance of a stage, or None if there is none that can be read."""
        try:
            return parse_provenance(self.read(METADATA_FILE[stage])).model_copy()
        except (OSError, ValueError, KeyError, TypeError, RecursionError, TraitvecError):
            return None

    def metadata(self, stage: Stage) -> dict[str, Any]:
        """Return a stage's metadata.

        Raises:
            TraitvecError: If the stage has not finished.
        """
        self._require(stage)
        metadata: dict[str, Any] = json.loads(self.read(METADATA_FILE[stage]))
        return metadata

    def manifest(self, kind: type[_Manifest], *, check_files: bool = True) -> _Manifest:
        """Return a stage's metadata as a typed model.

        Args:
            kind: The model, such as `ActivationsManifest`; it names the stage.
            check_files: Whether all files of the stage must still have their recorded content, too.

        Raises:
            TraitvecError: If the stage has not finished, or its metadata was written by another
                version or edited by hand.
        """
        if check_files:
            self._require(kind.stage)
        elif (provenance := self.provenance(kind.stage)) is not None:
            self._require_metadata(provenance)
        path = self.path / METADATA_FILE[kind.stage]
        try:
            return kind.model_validate_json(self.read(METADATA_FILE[kind.stage]))
        except FileNotFoundError:
            raise TraitvecError(
                f"{display_path(self.path)}: {kind.stage} has not been made yet; materialize it"
                " first"
            ) from None
        except (OSError, ValidationError) as error:
            problem = error.errors()[0] if isinstance(error, ValidationError) else None
            where = ".".join(map(str, problem["loc"])) if problem else ""
            what = f"{where}: {problem['msg']}" if problem else str(error)
            if problem and problem["type"] == "missing":
                what = f"it has no {where!r}, so another version of traitvec wrote it"
            raise TraitvecError(
                f"{display_path(path)} cannot be read ({what}); materialize {kind.stage} again"
            ) from None

    def recommended(self) -> Recommendation | None:
        """Return the recommended vector, its coefficient and its verdict; None if there is none.

        It is the report's, with its verdict, while the report is of these vectors and of this
        steering evaluation. Otherwise it is based on the steering evaluation of these vectors if
        there is one, else on their separation, and has no verdict.

        Raises:
            TraitvecError: If there are no vectors.
        """
        chosen = self._recommended_by_stages()
        if chosen is None:
            return None
        with suppress(TraitvecError):
            judged = self._recommended_by_report()
            if judged is not None and judged.verdict is not None:
                return judged
        return chosen.model_copy(update={"verdict": None, "reasons": [NOT_JUDGED]})

    def _recommended_by_stages(self) -> Recommendation | None:
        by_separation = self.manifest(RecommendedBySeparation).recommended
        vectors, steering = self.provenance("vectors"), self.provenance("steering_evaluation")
        if vectors is None or steering is None or not self.is_intact(steering):
            return by_separation
        if steering.inputs.get("vectors") != vectors.content:
            return by_separation
        by_steering = self.manifest(RecommendedBySteering, check_files=False).recommendation
        return by_steering or by_separation

    def _recommended_by_report(self) -> Recommendation | None:
        report = self.provenance("validation_report")
        if report is None or not self.is_intact(report):
            return None
        for stage in ("vectors", "steering_evaluation"):
            judged = self.provenance(stage)
            if report.inputs.get(stage, "") != (judged.content if judged else ""):
                return None
        return self.manifest(RecommendedByReport, check_files=False).recommended

    def is_intact(self, provenance: Provenance) -> bool:
        """Whether the metadata is as recorded, and all files are so here or are in a storage."""
        if self.is_here(provenance):
            return True
        copy = self._working_copy
        is_held = copy is not None and copy.holds(self, provenance)
        return is_held and self.is_metadata_as_recorded(provenance)

    def is_here(self, provenance: Provenance) -> bool:
        """Whether the metadata and all recorded files are here, with the recorded content."""
        return self.is_metadata_as_recorded(provenance) and all(
            self._is_as_recorded(name, h) for name, h in provenance.files.items()
        )

    def is_metadata_as_recorded(self, provenance: Provenance) -> bool:
        """Whether nobody has edited a stage's metadata file since its stage wrote it.

        Results of traitvec before 0.9 have no hash of it; they count as they are.
        """
        if not provenance.metadata:
            return True
        try:
            hashes = hashes_in(self.path.absolute())
            return hashes.of_values(METADATA_FILE[provenance.stage]) == provenance.metadata
        except (OSError, ValueError, TraitvecError):
            return False

    def _is_as_recorded(self, name: str, digest: str) -> bool:
        try:
            return hashes_in(self.path.absolute()).of(name) == digest
        except (OSError, ValueError, TraitvecError):
            return False

    def commit(
        self,
        stage: Stage,
        files: Mapping[str, bytes],
        metadata: Mapping[str, Any],
        provenance: Provenance,
    ) -> Provenance:
        """Replace a stage's files, then its metadata, once all of them are on the disk.

        Files that the stage no longer makes are removed.

        Args:
            stage: The stage.
            files: Content by path in the trait's folder.
            metadata: The stage's metadata; the provenance is added to it.
            provenance: The provenance, with `files` and `content` still empty.

        Returns:
            The completed provenance.

        Raises:
            TraitvecError: If the storage is unreachable, or another machine put another result.
        """
        before = self.provenance(stage)
        digests = {name: content_hash(data) for name, data in files.items()}
        done, record = dump_record(
            metadata,
            provenance.model_copy(
                update={"files": digests, "content": data_version(digests) or provenance.key}
            ),
        )
        folder = self.check_writable(stage)
        contents = {
            path_to_write(self.path.parent, f"{self.name}/{n}"): d for n, d in files.items()
        }
        last = self.path / METADATA_FILE[stage]
        with written_aside({**contents, last: record}) as aside:
            for path in contents:
                aside[path].replace(path)
            # Users may have edited this list: only files in the stage's own folder are removed.
            for name in set(before.files) - set(digests) if before else ():
                with suppress(OSError, ValueError, TraitvecError):
                    if (self.path / name).resolve().is_relative_to(folder.resolve()):
                        remove_inside(self.path.parent, f"{self.name}/{name}")
            aside[last].replace(last)
        remove_leftovers(folder)
        copy = self._working_copy
        return done if copy is None else copy.put(self, done)

    def check_writable(self, stage: Stage) -> Path:
        """Return the folder that a stage writes to.

        Raises:
            TraitvecError: If a link leads from it out of the experiment's folder.
        """
        return path_to_write(self.path.parent, f"{self.name}/{METADATA_FILE[stage]}").parent

    def _require(self, stage: Stage) -> Provenance:
        provenance = self.provenance(stage)
        if provenance is None:
            raise TraitvecError(
                f"{display_path(self.path)}: {stage} has not been made yet; materialize it first"
            )
        self._require_metadata(provenance)
        if not self.is_intact(provenance):
            raise TraitvecError(
                f"{display_path(self.path)}: files of {stage} were changed or removed after they"
                f" were written, or a run was interrupted; materialize {stage} again"
            )
        return provenance

    def _require_metadata(self, provenance: Provenance) -> None:
        if not self.is_metadata_as_recorded(provenance):
            stage = provenance.stage
            raise TraitvecError(
                f"{display_path(self.path / METADATA_FILE[stage])} was edited after {stage} wrote"
                f" it; materialize {stage} again"
            )

    def _read(self, name: str, provenance: Provenance | None) -> bytes:
        """Read a file of a stage; its content must still have the recorded hash."""
        data = self.read(name)
        if provenance is None or provenance.files.get(name) != content_hash(data):
            stage = provenance.stage if provenance else "vectors"
            raise TraitvecError(
                f"{display_path(self.path / name)} has changed since {stage} wrote it; materialize"
                f" {stage} again"
            )
        return data

    # -- tables and tensors -------------------------------------------------------------------

    def read_responses(self, stage: Stage = "judged_responses") -> "pd.DataFrame":
        """Read the responses of both poles, positives first, with a column `pole`.

        Args:
            stage: `judged_responses` for responses with scores, `responses` for those without.
        """
        import pandas as pd

        provenance = self._require(stage)
        self.fetch(stage)
        prefix = "responses/raw_" if stage == "responses" else "responses/"
        frames = []
        for pole in ("pos", "neg"):
            frame = parse_csv(self._read(f"{prefix}{pole}.csv", provenance))
            frame["pole"] = pole
            frames.append(frame)
        return pd.concat(frames, ignore_index=True)

    def read_token_ids(self) -> dict[str, ResponseIds]:
        """Read the generated tokens by `question_id`, of the responses for which they are known."""
        provenance = self._require("responses")
        if GENERATED_IDS_FILE not in provenance.files:
            return {}
        self.fetch("responses")
        return parse_token_ids(self._read(GENERATED_IDS_FILE, provenance))

    def read_activations(self) -> "torch.Tensor":
        """Read `[n_examples, n_layers, hidden_dim]`, positives first."""
        provenance = self._require("activations")
        self.fetch("activations")
        return load_tensor(self._read(ACTIVATIONS_FILE, provenance))

    def read_opposite_activations(self) -> "torch.Tensor | None":
        """Read the same responses in the context of the opposite instruction of their pair.

        Returns:
            `[n_examples, n_layers, hidden_dim]`, rows as in `read_activations`; None if they were
            not captured: `ActivationsManifest.opposite_instruction` says why.
        """
        provenance = self._require("activations")
        if OPPOSITE_FILE not in provenance.files:
            return None
        self.fetch("activations")
        return load_tensor(self._read(OPPOSITE_FILE, provenance))

    def read_restyled(self, style: str) -> "torch.Tensor":
        """Read the responses of `ActivationsManifest.restyled_ids` after a change of style.

        Returns:
            `[n_restyled, n_layers, hidden_dim]`.
        """
        provenance = self._require("activations")
        self.fetch("activations")
        return load_tensor(self._read(RESTYLED_FILE.format(style=style), provenance))

    def read_vector(self, method: str, layer: int) -> "torch.Tensor":
        """Read one vector, `[hidden_dim]`.

        Raises:
            TraitvecError: If there is no such vector.
        """
        name = f"vectors/{method}_layer{layer}.pt"
        provenance = self.provenance("vectors")
        recorded = provenance.files.get(name) if provenance else None
        # Only this file is hashed: reading one vector must not read a hundred.
        if recorded is not None and not self._is_as_recorded(name, recorded):
            self.fetch("vectors")
        path = self.path / name
        if not path.is_file():
            raise TraitvecError(
                f"{display_path(path)} is missing; add its method and layer to the settings, then"
                " materialize vectors"
            )
        return load_tensor(self._read(name, provenance))

    def journal(self, stage: Stage, key: str) -> Journal:
        """Return the journal of an unfinished stage; `key` is the provenance key of its result."""
        return Journal(self.path.parent, f"{self.name}/responses/.{stage}-{key[:32]}.jsonl")

    def trial_journal(self, key: str) -> Journal:
        """Return the responses of trials; `key` hashes all that they have in common."""
        return Journal(self.path.parent, f"{self.name}/responses/.trial-{key[:32]}.jsonl")
