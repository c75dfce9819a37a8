"""The model zoo, and loading of users' models and weights. Importing this imports no torch."""

from __future__ import annotations

from edgeds.models.load import load_model
from edgeds.models.zoo import ZOO

__all__ = ["ZOO", "load_model"]
