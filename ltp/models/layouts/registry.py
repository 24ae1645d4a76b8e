"""The adapters by the ``model_type`` of their configurations."""

from __future__ import annotations

from ltp.common.errors import LTPError
from ltp.models.layouts.bert import BertLayout
from ltp.models.layouts.deberta import DebertaLayout
from ltp.models.layouts.distilbert import DistilBertLayout
from ltp.models.layouts.electra import ElectraLayout
from ltp.models.layouts.layout import Layout
from ltp.models.layouts.modernbert import ModernBertLayout
from ltp.models.layouts.roberta import CamembertLayout, RobertaLayout, XLMRobertaLayout

_LAYOUTS = (
    BertLayout,
    CamembertLayout,
    DebertaLayout,
    DistilBertLayout,
    ElectraLayout,
    ModernBertLayout,
    RobertaLayout,
    XLMRobertaLayout,
)
LAYOUTS: dict[str, type[Layout]] = {layout.config_class.model_type: layout for layout in _LAYOUTS}


def layout_class(model_type: str) -> type[Layout]:
    """The adapter of an architecture; LTPError for one that has none."""
    if model_type not in LAYOUTS:
        raise LTPError(
            f"model_type: {model_type!r} is not supported; expected one of {', '.join(sorted(LAYOUTS))}: "
            "choose a checkpoint of such an encoder"
        )
    return LAYOUTS[model_type]
