"""Stand-ins for frameworks that are not installed: the names, signatures and behaviour that an adapter touches.

Each file says what it was read from, and lists its modules in MODULES.
"""

from collections.abc import Callable, Iterator
from copy import deepcopy
from typing import Any

import torch


class Registry:
    """The registry of fvcore's family: names come from `__name__`, a name twice is an AssertionError.

    Read from basicsr/utils/registry.py (1.4.2), traiNNer/utils/registry.py (commit 0708929b, which folds the case) and
    neosr/utils/registry.py (commit 0199ef57).
    """

    def __init__(self, suffix: str, fold: Callable[[str], str] = str) -> None:
        self.suffix, self.fold = suffix, fold
        self._obj_map: dict[str, Any] = {}

    def register(self, obj: Any = None, suffix: str | None = None) -> Any:
        if obj is None:
            return lambda thing: (self.register(thing, suffix), thing)[1]
        name = self.fold(obj.__name__) + (f"_{suffix}" if suffix else "")
        assert name not in self._obj_map, f"{name} is registered already"
        self._obj_map[name] = obj
        return None

    def get(self, name: str) -> Any:
        name = self.fold(name)
        found = self._obj_map.get(name) or self._obj_map.get(f"{name}_{self.suffix}")
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        return iter(self._obj_map.items())

    def __contains__(self, name: str) -> bool:
        return self.fold(name) in self._obj_map


def builder(registry: Registry) -> Callable[[dict[str, Any]], torch.nn.Module]:
    """`build_loss` or `build_network`: every key but `type` is a keyword argument; the options are left as they are."""

    def build(opt: dict[str, Any]) -> torch.nn.Module:
        options = deepcopy(opt)
        return registry.get(options.pop("type"))(**options)

    return build
