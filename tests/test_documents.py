"""What the documents show can be typed: commands, options, links and files that they name are there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer
from tiny_federation import small_corpus

from shared_models.audio.reading import read_audio
from shared_models.config import parse_recipe
from shared_models.watermark.detection import detect
from simulations import cli

REPOSITORY = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    REPOSITORY / name
    for name in (
        "README.md", "MODEL_CARD.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/glossary.md",
        "docs/benchmarks/README.md", "docs/benchmarks/cloning.md", "docs/benchmarks/matrix.md", "docs/voices.md",
    )
]  # fmt: skip


def _shown_commands() -> list[str]:
    shown = []
    for document in DOCUMENTS:
        for block in re.findall(r"```\n(.*?)```", document.read_text(encoding="utf-8"), re.DOTALL):
            lines = (line.removeprefix("$ ") for line in block.replace("\\\n", " ").splitlines())
            shown += [line for line in lines if line.startswith("fedvoice ")]
    return sorted(set(shown))


@pytest.mark.parametrize("line", _shown_commands())
def test_shown_commands_parse(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: click.Command = typer.main.get_command(cli.app)
    context = click.Context(command)
    # A group like `serve` also runs by itself: then what follows is an option of its own.
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        _, found, words = command.resolve_command(context, words)
        assert found is not None, line
        command, context = found, click.Context(found, parent=context)
    # Raises for an option that there is not, a value that does not fit, and a missing argument.
    command.make_context(command.name, words, parent=context)


def test_there_are_commands_to_parse() -> None:
    assert len(_shown_commands()) > 12


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_and_named_files_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (document.parent / target).exists(), target
    for named in re.findall(r"`((?:server|client|shared_models|simulations|tests)/[\w/]+\.\w+)`", text):
        assert "NAME" in named or (REPOSITORY / named).exists(), named


def test_every_mounted_command_is_in_the_readme() -> None:
    readme = DOCUMENTS[0].read_text(encoding="utf-8")
    commands = typer.main.get_command(cli.app)
    assert isinstance(commands, click.Group)
    for name, command in commands.commands.items():
        for inner in command.commands if isinstance(command, click.Group) else [""]:
            shown = f"fedvoice {name} {inner}".strip()
            assert shown in readme or f"`{inner} " in readme or f"`{inner}`" in readme, shown


def test_the_recipe_in_the_readme_is_one() -> None:
    import tomllib

    text = re.search(r"```toml\n(.*?)```", DOCUMENTS[0].read_text(encoding="utf-8"), re.DOTALL)
    assert text is not None
    recipe = parse_recipe(tomllib.loads(text.group(1)), where="README")
    assert recipe.arm("private").privacy.noise_cohort == 5000


def test_the_python_in_the_readme_clones_and_speaks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = re.findall(r"```python\n(.*?)```", DOCUMENTS[0].read_text(encoding="utf-8"), re.DOTALL)
    assert len(found) == 1
    assert len([line for line in found[0].splitlines() if line]) <= 5
    monkeypatch.chdir(tmp_path)
    small_corpus(tmp_path / "my-recordings", train=1, utterances=2)
    exec(compile(found[0], "README.md", "exec"), {})
    spoken = detect(*read_audio(tmp_path / "morning.wav"))
    assert 0.5 < spoken.seconds < 5
    assert spoken.marked
    assert (tmp_path / "me.voice.safetensors").is_file()
