"""Whether a process that left its name somewhere is still the one with that number.

Nothing here reads the wall clock, which can be set forward or back at any time. The kernel counts
a process's start from its own boot, and gives each boot an id.
"""

import os
import shutil
import subprocess
from pathlib import Path

__all__ = ["is_alive", "process_start"]

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def process_start(pid: int) -> str | None:
    """Return what tells a process from all others that had or will have its number.

    It is the boot of this machine and the clock tick at which the process started. None if there
    is no such process, or the system does not say.
    """
    try:
        # The program's name, in brackets, may hold anything.
        ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[19]
        return f"{_BOOT_ID.read_text().strip()}-{ticks}"
    except (OSError, IndexError, ValueError):
        return None if _BOOT_ID.exists() else _start_without_proc(pid)


def is_alive(pid: int, start: str | None) -> bool:
    """Whether a process of this machine still runs.

    Args:
        pid: Its number.
        start: What `process_start` said of it; if None, any process with the number counts.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    now = process_start(pid)
    return start is None or now is None or now == start


def _start_without_proc(pid: int) -> str | None:
    program = shutil.which("ps")
    if program is None:
        return None
    command = [program, "-o", "lstart=", "-p", str(pid)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)  # noqa: S603
    except (OSError, subprocess.SubprocessError):
        return None
    return " ".join(done.stdout.split()) or None
