"""Exchange with other tools: export vectors to their formats, import persona-vectors folders."""

from traitvec_core.exchange.bundle import Bundle, ExportedVector
from traitvec_core.exchange.export import Exported, export_vectors
from traitvec_core.exchange.file_formats.format import Format, LayerConvention
from traitvec_core.exchange.file_formats.table import FORMATS, LAYERS
from traitvec_core.exchange.gather import gather
from traitvec_core.exchange.hub import Push, plan_push, push
from traitvec_core.exchange.import_plan import ImportPlan, PlannedTrait, plan_import
from traitvec_core.exchange.imported_vectors import ImportedVectors, read_imported_vectors
from traitvec_core.exchange.importing import import_persona_vectors, write_import
from traitvec_core.exchange.persona_folder import LeftOut

__all__ = [
    "FORMATS",
    "LAYERS",
    "Bundle",
    "Exported",
    "ExportedVector",
    "Format",
    "ImportPlan",
    "ImportedVectors",
    "LayerConvention",
    "LeftOut",
    "PlannedTrait",
    "Push",
    "export_vectors",
    "gather",
    "import_persona_vectors",
    "plan_import",
    "plan_push",
    "push",
    "read_imported_vectors",
    "write_import",
]
