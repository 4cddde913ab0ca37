"""The competitors by name, found by their files: every subclass of `Competitor` that has a name.

They import their libraries when they fit, so that the process of one competitor has only its own.
"""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks import discovery
from benchmarks.competitors.base import Competitor
from benchmarks.competitors.on_device import OnDevice

__all__ = ["COMPETITORS", "ON_DEVICE", "Competitor", "discovered"]


def discovered(paths: Iterable[str], package: str) -> dict[str, Competitor]:
    """The competitors in the modules of a package, gpulr's own first, since the others are compared with it, then by name.

    Args:
        paths: `__path__` of the package.
        package: its `__name__`.

    Raises:
        ValueError: two have the same name.
    """
    found: dict[str, Competitor] = {}
    for module in discovery.modules(paths, package):
        for kind in vars(module).values():
            is_own = isinstance(kind, type) and issubclass(kind, Competitor) and kind.__module__ == module.__name__
            if not is_own or not hasattr(kind, "name"):  # what others are derived from has none
                continue
            if kind.name in found:
                raise ValueError(f"{kind.name!r} is the name of two competitors, one is in {module.__file__}")
            found[kind.name] = kind()
    return dict(sorted(found.items(), key=lambda item: (not item[0].startswith("gpulr"), item[0])))


COMPETITORS = discovered(__path__, __name__)

ON_DEVICE: tuple[type[OnDevice], ...] = tuple(
    type(competitor)
    for competitor in COMPETITORS.values()
    if isinstance(competitor, OnDevice) and competitor.device == "cuda"
)
"""Those of a GPU, for `python -m benchmarks gpu`."""
