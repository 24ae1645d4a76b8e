"""Where text comes from: Python packages, local files, the Hugging Face Hub.

Text arrives as tables (`Table`), one for each split that the source has; their content is checked later.
"""

from __future__ import annotations

from pathlib import Path

from ltp.settings.data import DataSettings
from ltp.settings.tasks import Task
from ltp.text.packaged import read_packaged
from ltp.text.types import Source


def read_source(settings: DataSettings, task: Task) -> Source:
    """Read the text of a task from where its settings say. Raises LTPError where it is not there or not readable."""
    if settings.source == "packaged":
        return read_packaged(settings.text)
    if settings.source == "local":
        from ltp.text.local import read_local

        return read_local(Path(settings.path or "").expanduser(), task)
    from ltp.text.hub import read_hub

    return read_hub(settings, task)
