"""Pages from the folder of experiments: those that stages write, by their names, and no others."""

import base64
import binascii
import re
import struct
from contextlib import suppress
from pathlib import Path

from markupsafe import escape

from traitvec_core.errors import TraitvecError
from traitvec_core.stage_names import Stage
from traitvec_core.stages.staleness import staleness_of_vector
from traitvec_core.storage.folders import ExperimentFolder, TraitFolder
from traitvec_core.storage.tree import path_to_read
from traitvec_core.user_files import read_file
from traitvec_core.visible_text import one_line
from traitvec_dagster.ui.addresses import ATLAS_PAGE, DYNAMICS_PAGE, PLOT, REPORT_PAGE

__all__ = ["read_tree_page"]

_PAGES_OF_TRAIT: dict[str, Stage] = {
    REPORT_PAGE: "validation_report",
    "validation/report.json": "validation_report",
    PLOT: "validation_report",
    DYNAMICS_PAGE: "trait_dynamics",
}
_PAGES_OF_EXPERIMENT = frozenset({ATLAS_PAGE, "atlas/atlas.json"})
# The tree's author does not decide how much memory this takes.
_MAX_BYTES = 64 * 2**20
_PICTURE = re.compile(
    rb'<figure id="plot"><img [^>]{,2000}?src="data:image/png;base64,([A-Za-z0-9+/=]+)"'
)
# Signature, length and name of the first chunk, width and height.
_PNG_HEADER = 24
_PNG = b"\x89PNG\r\n\x1a\n"
# Dagster shows a picture at its width, and cuts off all metadata of the page if that does not fit
# beside the names and times of entries in a window of 1440 pixels.
_PLOT_WIDTH = 420


def read_tree_page(experiments: Path, name: str) -> bytes:
    """Return the content of a page.

    Args:
        experiments: The folder of all experiments.
        name: `experiment/atlas/atlas.html`, `experiment/trait/validation/report.html` and so on,
            as a browser sent it.

    Raises:
        TraitvecError: If there is no such page, it has not been made, or a link to it leads out of
            the tree.
    """
    experiment_name, _, rest = name.partition("/")
    if rest in _PAGES_OF_EXPERIMENT:
        experiment = ExperimentFolder(experiments, experiment_name)
        return _read(experiment, rest, f"materialize trait_atlas of {experiment.name}")
    trait_name, _, page = rest.partition("/")
    if page not in _PAGES_OF_TRAIT:
        raise TraitvecError("there is no such page of an experiment or a trait")
    experiment = ExperimentFolder(experiments, experiment_name)
    trait, stage = experiment.trait(trait_name), _PAGES_OF_TRAIT[page]
    # What is on this machine is shown when the bucket is out of reach.
    with suppress(TraitvecError):
        trait.fetch(stage)
    file = REPORT_PAGE if page == PLOT else page
    data = _read(
        experiment, f"{trait.name}/{file}", f"materialize {stage} of {experiment.name}/{trait.name}"
    )
    if page == PLOT:
        return _plot_of(data)
    return _with_staleness(data, trait) if page == REPORT_PAGE else data


def _read(experiment: ExperimentFolder, name: str, how_to_make: str) -> bytes:
    where = f"{experiment.name}/{name}"
    try:
        return read_file(path_to_read(experiment.path, name), where, _MAX_BYTES)
    except FileNotFoundError:
        raise TraitvecError(f"{where} has not been made yet; {how_to_make}") from None
    except OSError as error:
        raise TraitvecError(f"{where} cannot be read: {error.strerror}") from None


def _with_staleness(report: bytes, trait: TraitFolder) -> bytes:
    """Return a report that starts with the reason why it is out of date, if it is."""
    try:
        stale = staleness_of_vector(trait, is_judged=True) if trait.recommended() else None
    except TraitvecError:
        # Vectors that cannot be read: their stage's run says so.
        return report
    if stale is None:
        return report
    line = one_line(f"{stale[:1].upper()}{stale[1:]}. This page shows the last run.")
    note = f'<p class="warn" role="status">{escape(line)}</p>'.encode()
    return report.replace(b"<body>", b"<body>\n" + note, 1)


def _plot_of(report: bytes) -> bytes:
    """Return the first picture of a report with all its pixels, to be shown at a small width."""
    match = _PICTURE.search(report)
    with suppress(binascii.Error):
        picture = base64.b64decode(match[1], validate=True) if match else b""
        if match and picture.startswith(_PNG) and len(picture) > _PNG_HEADER:
            width, height = struct.unpack_from(">II", picture, _PNG_HEADER - 8)
            shown = round(_PLOT_WIDTH * height / max(1, width))
            return (
                b'<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d">'
                b'<image width="100%%" height="100%%" href="data:image/png;base64,%s"/></svg>'
            ) % (_PLOT_WIDTH, shown, match[1])
    raise TraitvecError("the report has no picture; materialize validation_report again")
