"""Every error that edgeds raises on purpose, and the exit code that the command line gives it.

EdgedsError                 anything below
├── InputError              what the user gave cannot be used                              exit 2
│   ├── ModelError          the model, its weights, or an operator in it
│   ├── DataError           calibration or validation data
│   └── BundleError         a bundle that is missing, damaged, tampered with, or in the way
├── LimitError              a drift limit was exceeded, or a layer is wrong                exit 1
└── ToolError               a library or program is missing, or failed                     exit 3

A message says what is wrong, the value, the valid choices, and the next step, in one line.
"""

from __future__ import annotations

from collections.abc import Iterable


class EdgedsError(Exception):
    """The base of all errors that edgeds raises on purpose."""

    exit_code = 2


class InputError(EdgedsError):
    """What the user gave cannot be used."""


class ModelError(InputError):
    """The model, its weights, or an operator inside it cannot be used."""


class DataError(InputError):
    """The calibration or validation data cannot be used."""


class BundleError(InputError):
    """A bundle is missing, damaged, tampered with, or in the way."""


class LimitError(EdgedsError):
    """A drift limit was exceeded, or a layer computes something else than it should."""

    exit_code = 1


class ToolError(EdgedsError):
    """A library or program is missing, or failed."""

    exit_code = 3


def unknown_choice(what: str, value: str, choices: Iterable[str]) -> InputError:
    """The error for a name that is not in a closed set: names the value and all the choices."""
    return InputError(f"unknown {what} {value!r}; choose from {', '.join(choices)}")
