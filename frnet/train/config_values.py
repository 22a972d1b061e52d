"""Kinds of value that settings have, and what all sections of a configuration are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["Count", "Location", "NotNegative", "Positive", "Section", "Share"]

Location = Annotated[Path, AfterValidator(lambda path: path.expanduser().absolute())]
"""A file or folder; relative ones start from the current directory, as on a command line."""

Share = Annotated[float, Field(gt=0, lt=1)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """Refuses settings that it does not know, and is not changed once it is made."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True)
