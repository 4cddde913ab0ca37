"""What is found by its file: the competitors and the problems need no list to be entered in."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterable, Iterator
from importlib import import_module
from types import ModuleType


def modules(paths: Iterable[str], package: str) -> Iterator[ModuleType]:
    """The modules of a package in the order of their names; `paths` is its `__path__`, `package` its `__name__`."""
    for name in sorted(found.name for found in pkgutil.iter_modules(paths)):
        yield import_module(f"{package}.{name}")
