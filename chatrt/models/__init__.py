"""Language models: the contract, and what fills it."""

from __future__ import annotations

from chatrt.models.base import Model, ModelPart, ModelRequest, ToolSpec
from chatrt.models.function import FunctionModel
from chatrt.models.litellm import LiteLLMModel
from chatrt.models.litellm_messages import to_litellm
from chatrt.models.scripted import ScriptedModel
from chatrt.models.usage import Usage

__all__ = [
    "FunctionModel",
    "LiteLLMModel",
    "Model",
    "ModelPart",
    "ModelRequest",
    "ScriptedModel",
    "ToolSpec",
    "Usage",
    "resolve_model",
    "to_litellm",
]


def resolve_model(model: str | Model) -> Model:
    """Return the model itself, or for a litellm name such as `anthropic/claude-sonnet-4-5` the model of that name."""
    return LiteLLMModel(model) if isinstance(model, str) else model
