"""The only script of a report: it copies a line, and shows links where the page is served."""

import base64
import hashlib

from traitvec_core.report.environment import page_environment

__all__ = ["PAGE_SCRIPT", "PAGE_SCRIPT_HASH"]

PAGE_SCRIPT: str = page_environment().get_template("report_script.j2").render()
PAGE_SCRIPT_HASH = base64.b64encode(hashlib.sha256(PAGE_SCRIPT.encode()).digest()).decode()
"""A page's policy names the script by its hash and runs no other."""
