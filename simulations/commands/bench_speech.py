"""``fedvoice bench vocoders`` and ``bench speaking``: how good speech is, and how fast it is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from shared_models.console import DeviceOption, JsonOption, output, print_json, stages
from simulations.environment import describe_environment

if TYPE_CHECKING:
    from client.speaker import Speaker
    from simulations.benchmarks.speaking import SpeakingBench
    from simulations.benchmarks.vocoders import VocoderBench
    from simulations.evaluation.bootstrap import Estimate
    from simulations.evaluation.intelligibility import Understanding

_METRICS = {
    "mcd": "MCD dB", "wer": "WER", "cer": "CER", "similarity": "similarity", "dnsmos": "DNSMOS",
    "distillmos": "DistillMOS",
}  # fmt: skip
AudioOption = Annotated[Path | None, typer.Option(help="Folder for everything that was made, as WAV.")]
CorpusOption = Annotated[str, typer.Option(help="Folder or CSV with unseen speakers, or 'embedded'.")]


def vocoders(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="VOCODER...", help="griffin_lim, packaged, or vocoder files."),
    ] = None,
    corpus: CorpusOption = "embedded",
    speakers: Annotated[int | None, typer.Option(min=1, help="At most so many unseen speakers.")] = None,
    utterances: Annotated[int, typer.Option(min=1, help="Query recordings a speaker.")] = 5,
    audio: AudioOption = None,
    json_output: JsonOption = False,
) -> None:
    """Copy unseen speakers' recordings through vocoders and judge the copies, the recordings beside them.

    Examples:

        fedvoice bench vocoders griffin_lim vocos.safetensors

        fedvoice bench vocoders griffin_lim packaged --corpus my-corpus/ --audio copies/ --json
    """
    from simulations.benchmarks.vocoders import as_json, measure_vocoders, unseen_recordings

    with stages(quiet=json_output) as stage:
        recordings = unseen_recordings(corpus, speakers=speakers, utterances=utterances)
        found = measure_vocoders(names or ["griffin_lim"], recordings, audio=audio, stage=stage)
    if json_output:
        print_json(
            {
                **describe_environment(),
                "corpus": Path(corpus).name,
                **as_json(found),
            }
        )
        return
    output().print(_vocoder_table(found, corpus))
    output().print(
        f"load average {found.load_average[0]:.1f} before and {found.load_average[1]:.1f} after",
        highlight=False,
    )


def speaking(
    voice: Annotated[
        str | None,
        typer.Option(help="A packaged voice's name or a profile; with --base, nobody's by default."),
    ] = None,
    base: Annotated[
        Path | None, typer.Option(help="Run folder or checkpoint to speak with, if not the voice's own.")
    ] = None,
    arm: Annotated[str | None, typer.Option(help="Arm of that run.")] = None,
    vocoder: Annotated[
        str | None, typer.Option(help="packaged, griffin_lim, or a vocoder file; packaged if there is one.")
    ] = None,
    sentences: Annotated[
        Path | None, typer.Option(help="Other sentences, one a line; how it is read may follow after a '|'.")
    ] = None,
    long_text: Annotated[Path | None, typer.Option(help="Another long text.")] = None,
    corpus: CorpusOption = "embedded",
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many of its real recordings, evenly spread.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads to speak on.")] = 2,
    device: DeviceOption = "cpu",
    audio: AudioOption = None,
    json_output: JsonOption = False,
) -> None:
    """Speak a hundred unseen sentences and ten minutes of text, and have a recogniser write down what it hears.

    Beside it: what the same recogniser makes of the real recordings of unseen speakers.

    Examples:

        fedvoice bench speaking

        fedvoice bench speaking --voice me.voice.safetensors --corpus my-corpus/ --limit 100 --json
    """
    from simulations.benchmarks.speaking import as_json, measure_speaking
    from simulations.benchmarks.vocoders import unseen_recordings
    from simulations.corpora.limits import spread
    from simulations.evaluation.intelligibility import LONG_TEXT, SENTENCES, read_sentences, read_text

    said, story = read_sentences(sentences or SENTENCES), read_text(long_text or LONG_TEXT)
    recordings = [u for own in unseen_recordings(corpus).values() for u in own]
    speaker = _speaker(voice, base, arm, vocoder, device)
    with stages(quiet=json_output) as stage:
        found = measure_speaking(
            speaker, said, story, spread(recordings, limit), threads=threads, audio=audio, stage=stage
        )
    figures = as_json(found)
    if json_output:
        print_json(
            {**describe_environment(), "device": str(speaker.device), "corpus": Path(corpus).name, **figures}
        )
        return
    _show_speaking(found, figures)


def _speaker(
    voice: str | None, base: Path | None, arm: str | None, vocoder: str | None, device: str
) -> Speaker:
    from client.cloning import voice_of_nobody
    from client.speaker import Speaker
    from shared_models.accelerator import Accelerator
    from shared_models.base_model import load_base
    from shared_models.pretrained import DEFAULT_VOICE, default_vocoder
    from shared_models.vocoders import build_vocoder

    if voice is None and base is not None:
        where = Accelerator.resolve(device).device
        model = load_base(base, arm).model.to(where)
        sound = build_vocoder(vocoder or default_vocoder(), where)
        return Speaker(model.model, voice_of_nobody(model), sound)
    return Speaker.find(voice or DEFAULT_VOICE, base=base, arm=arm, vocoder=vocoder, device=device)


def _vocoder_table(found: VocoderBench, corpus: str) -> Table:
    """A column a vocoder: there are fewer of them than figures."""
    title = (
        f"Copy synthesis: {found.recordings} recordings of {found.speakers} unseen speakers of {Path(corpus).name}, "
        "means over speakers with 95 % intervals"
    )
    table = Table(title=title, title_justify="left")
    table.add_column("", no_wrap=True)
    for row in found.rows:
        table.add_column(row.name, justify="right", overflow="fold")
    for name, shown in _METRICS.items():
        table.add_row(shown, *(_cell(row.estimates[name]) for row in found.rows))
    for threads in found.rows[-1].real_time_factors:
        factors = [row.real_time_factors.get(threads) for row in found.rows]
        table.add_row(f"RTF, threads: {threads}", *("" if f is None else f"{f:.3f}" for f in factors))
    return table


def _cell(estimate: Estimate) -> str:
    mean = f"{estimate.mean:.3f}"
    return mean if estimate.count < 2 else f"{mean}\n{estimate.low:.3f}–{estimate.high:.3f}"


def _show_speaking(found: SpeakingBench, figures: dict[str, Any]) -> None:
    table = Table()
    table.add_column("", no_wrap=True)
    for column in ("clips", "words", "WER", "CER", "wrong", "missing", "extra"):
        table.add_column(column, justify="right", no_wrap=True)
    heard = {
        "sentences": found.sentences,
        "long text": found.long_text,
        "both together": found.all_text,
        "real recordings": found.real,
    }
    for name, understood in heard.items():
        table.add_row(name, *_counts(understood))
    output().print(table)
    worst = Table("WER", "said", "heard", title="The worst", title_justify="left")
    for clip in figures["worst"]:
        worst.add_row(f"{clip['wer']:.2f}", clip["said"], clip["heard"])
    if figures["worst"]:
        output().print(worst)
    waits, load = found.first_audio, found.load_average
    output().print(
        f"real-time factor {found.real_time_factor:.3f} on {found.threads} thread(s); first audio after "
        f"{waits['long_text']:.2f} s of the long text, {waits['median']:.2f} s of a sentence (worst "
        f"{waits['worst']:.2f} s); load average {load[0]:.1f} before and {load[1]:.1f} after",
        soft_wrap=True, highlight=False,
    )  # fmt: skip


def _counts(heard: Understanding) -> list[str]:
    plain = heard.as_json()
    wer = f"{heard.wer:.3f}\n{plain['wer_low']:.3f}–{plain['wer_high']:.3f}"
    kinds = [str(plain[kind]) for kind in ("substitutions", "deletions", "insertions")]
    return [str(plain["clips"]), str(plain["words"]), wer, f"{heard.cer:.3f}", *kinds]
