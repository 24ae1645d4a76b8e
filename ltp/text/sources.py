"""Where text and models come from: packages of the index, local files, the Hugging Face Hub.

Text arrives as tables (`Table`), one for each split that the source has; nothing here looks at what is in them.
"""

from __future__ import annotations

from pathlib import Path

from ltp.settings.data import DataSettings
from ltp.settings.tasks import Task
from ltp.text.packaged import packaged_reviews
from ltp.text.types import Source


def read_source(settings: DataSettings, task: Task) -> Source:
    """Read the text of a task from where its settings say. Raises LTPError where it is not there or not readable."""
    if settings.source == "packaged":
        return packaged_reviews(task)
    if settings.source == "local":
        from ltp.text.local import read_local

        return read_local(Path(settings.path or "").expanduser(), task)
    from ltp.text.hub import read_hub

    return read_hub(settings, task)
