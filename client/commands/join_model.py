"""What ``fedvoice join`` shows of a federation before one joins, and of its model once it is over."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from shared_models import console
from shared_models.shown_text import shown


def look_at(code: str, home: Path, policy: Path | None) -> tuple[Any, Any]:
    """The offer behind a join code, which is not used up, and the policy that it is judged by."""
    from client.home.policy import load_policy
    from client.live.inspection import inspect
    from shared_models.errors import RecipeError
    from shared_models.join_code import JoinCode

    parsed = JoinCode.parse(code)
    if policy is not None and not policy.is_file():
        raise RecipeError(f"there is no policy at {policy}; check the path")
    chosen = load_policy(policy if policy is not None else home / "policy.toml")
    return inspect(parsed, home), chosen


def show_offer(code: str, home: Path, policy: Path | None, as_json: bool) -> None:
    """``fedvoice join CODE --inspect``."""
    from client.live.disclosure import what_is_sent
    from client.live.inspection import as_plain, sentences

    offer, chosen = look_at(code, home, policy)
    if as_json:
        console.print_json(as_plain(offer, chosen))
        return
    # Who sees what, without the first sentence, which says that one is joining.
    for line in [*sentences(offer, chosen), *what_is_sent(offer.federation, offer.server, "", chosen)[1:]]:
        console.output().print(line, highlight=False, markup=False, soft_wrap=True)


def get_model(home: Path, output: Path | None, as_json: bool) -> None:
    """``fedvoice join --get-model``."""
    from client.live.published_model import fetch_model

    with console.steps_progress("fetching the model", quiet=as_json) as progress:
        fetched = fetch_model(home, output, progress)
    manifest = fetched.manifest
    if as_json:
        console.print_json(
            {
                "folder": str(fetched.folder), "federation": manifest.federation, "run": manifest.run,
                "round": manifest.round, "base": manifest.base, "numbers": manifest.numbers,
                "privacy": manifest.privacy,
            }
        )  # fmt: skip
        return
    for line in (
        f"the model of round {manifest.round} of '{manifest.federation}', signed by its authority: "
        f"{manifest.numbers:,} numbers in {fetched.folder}",
        f"privacy, as its operator states it: {manifest.privacy}",
        "clone your voice on it:",
    ):
        console.notices().print(shown(line), highlight=False, markup=False, soft_wrap=True)
    console.output().print(
        f"fedvoice clone RECORDINGS --base {_quoted(fetched.folder)}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def say_finished(finished: Any, home: Path) -> None:
    """Why ``fedvoice join`` ends by itself."""
    from client.live.home import DEFAULT_HOME

    where = "" if home == DEFAULT_HOME.expanduser() else f" --home {_quoted(home)}"
    then = (
        f"a model is published: fedvoice join --get-model{where}"
        if finished.published
        else f"once its operator publishes a model: fedvoice join --get-model{where}"
    )
    console.notices().print(
        shown(f"the federation '{finished.federation}' has finished after round {finished.last_round}; {then}"),
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
