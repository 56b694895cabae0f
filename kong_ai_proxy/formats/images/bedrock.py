"""Which translation makes a Bedrock model's images: InvokeModel's body is each maker's own."""

from __future__ import annotations

from ...core.call import Call
from ...core.errors import BadRequest
from ..steps import StepsTranslation
from .amazon import NOVA_CANVAS, TITAN
from .stability import STABILITY, is_stability


def bedrock_images(call: Call) -> StepsTranslation:
    """By the model's name, which may stand behind a region's or in an ARN. Raises BadRequest for a model that
    makes no images."""
    name = call.model.lower()
    if "nova-canvas" in name:
        return NOVA_CANVAS
    if "titan-image" in name:
        return TITAN
    if is_stability(name):
        return STABILITY
    raise BadRequest(
        f"{call.model[:200]} is no image model of Amazon's or Stability's"
        if call.model
        else "provider bedrock needs a model",
        param="model",
    )
