"""The one vector that a trait recommends, with everything that was measured on it."""

from dataclasses import dataclass

from traitvec_core.storage.folders import TraitFolder
from traitvec_core.storage.manifests import Recommendation
from traitvec_core.validation.evidence import VectorEvidence
from traitvec_core.validation.manifests import SteeredEvidence, VectorRow, VectorsManifest
from traitvec_core.validation.separation import Separation, SeparationScore

__all__ = ["RecommendedVector", "read_evidence_on", "read_recommended_vector"]


@dataclass(frozen=True)
class RecommendedVector:
    """The recommended vector: chosen by steering where that was evaluated, else by separation.

    Attributes:
        recommendation: Method, layer and coefficient.
        row: Its norms and held-out figures; None if the manifest does not list it.
        evidence: What is measured on it alone; None if nothing could be.
    """

    recommendation: Recommendation
    row: VectorRow | None
    evidence: VectorEvidence | None

    def score_in(self, separation: Separation) -> SeparationScore | None:
        """Return its held-out figures, corrected for having won where it is the winner."""
        winner = separation.winner
        if winner is not None and (winner.method, winner.layer) == self.recommendation.place:
            return winner
        return separation.of(*self.recommendation.place)


def read_recommended_vector(
    folder: TraitFolder, manifest: VectorsManifest
) -> RecommendedVector | None:
    """Return the recommended vector of a trait; None when none is recommended.

    Args:
        folder: The trait's folder.
        manifest: Its vectors.

    Raises:
        TraitvecError: If the steering evaluation cannot be read.
    """
    chosen = folder.recommended()
    return None if chosen is None else read_evidence_on(chosen, folder, manifest)


def read_evidence_on(
    chosen: Recommendation, folder: TraitFolder, manifest: VectorsManifest
) -> RecommendedVector:
    """Return a recommended vector with what was measured on it.

    Args:
        chosen: From `TraitFolder.recommended`, which reads every vector file.
        folder: The trait's folder.
        manifest: Its vectors.

    Raises:
        TraitvecError: If the steering evaluation cannot be read.
    """
    evidence = manifest.evidence
    if evidence is None or (evidence.method, evidence.layer) != chosen.place:
        evidence = folder.manifest(SteeredEvidence, check_files=False).evidence
    return RecommendedVector(chosen, manifest.row(*chosen.place), evidence)
