"""The vocoder recipes that ship, by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from shared_models.config import Recipe, load_recipe
from shared_models.errors import RecipeError

_FOLDER = Path(__file__).parent


def vocoder_recipe_names() -> list[str]:
    """Names that :func:`find_vocoder_recipe` knows."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find_vocoder_recipe(name: str, overrides: Sequence[str] = ()) -> Recipe:
    """A shipped vocoder recipe by name, or a recipe file by path, with ``a.b=c`` overrides applied."""
    path = Path(name)
    if path.suffix != ".toml":
        path = _FOLDER / f"{name}.toml"
        if name not in vocoder_recipe_names():
            raise RecipeError(
                f"there is no vocoder recipe '{name}': choose one of {', '.join(vocoder_recipe_names())}, or "
                "give a .toml file"
            )
    return load_recipe(path, overrides)
