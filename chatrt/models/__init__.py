"""Language models: the contract, and what fills it."""

from __future__ import annotations

from chatrt.models.base import Model, ModelPart, ModelRequest, ToolSpec
from chatrt.models.function import FunctionModel
from chatrt.models.litellm import LiteLLMModel
from chatrt.models.litellm_messages import to_litellm
from chatrt.models.permission import allow_model_calls, forbid_model_calls
from chatrt.models.resolve import override_model, resolve_model
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
    "allow_model_calls",
    "forbid_model_calls",
    "override_model",
    "resolve_model",
    "to_litellm",
]
