"""Reports: pages as HTML and pictures as PNG."""

from traitvec_core.report.page import build_report

__all__ = ["build_report"]
