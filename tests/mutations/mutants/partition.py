"""Bugs in what is shared and what is personal."""

from __future__ import annotations

from mutants.mutant import Edit, mutant

_PARTITION = "shared_models/partition.py"
_PROFILE = "client/profile.py"
_MAPS = "shared_models/speakers/adaptation/maps.py"
_TESTS = "shared_models/test_partition.py::"
_WHOLE = _TESTS + "test_every_voice_model_is_partitioned_whole"

MUTANTS = (
    mutant(
        "voices marked shared",
        "a voice stays on its device",
        Edit("shared_models/speakers/voices.py", "belongs_to = Owner.PERSONAL", "belongs_to = Owner.SHARED"),
        _WHOLE + "[never-sources0-vectors-tiny]",
    ),
    mutant(
        "personal maps marked shared",
        "conditioning maps belong to whom the recipe says",
        (
            Edit(_MAPS, "    belongs_to = Owner.PERSONAL\n\n", "    belongs_to = Owner.SHARED\n\n"),
            Edit(_MAPS, "self.maps.belongs_to = Owner.PERSONAL", "self.maps.belongs_to = Owner.SHARED"),
        ),
        _WHOLE + "[never-sources0-maps-tiny]",
    ),
    mutant(
        "buffers may be shared",
        "nothing that training does not bound is sent",
        Edit(
            _PARTITION,
            "    if not isinstance(tensor, nn.Parameter):\n        raise",
            "    if False:\n        raise",
        ),
        _TESTS + "test_running_statistics_and_whole_numbers_cannot_travel",
    ),
    mutant(
        "undeclared tensor is shared",
        "a tensor that nobody declared is not sent",
        Edit(
            _PARTITION,
            "        if owner is None:\n            raise",
            "        if owner is None:\n            owner = Owner.SHARED\n        if False:\n            raise",
        ),
        _TESTS + "test_an_undeclared_tensor_stops_the_partition",
    ),
    mutant(
        "profile holds a reference",
        "a voice's file holds the voice and nothing that was recorded",
        (
            Edit(
                _PROFILE,
                "    write_atomically(path, save(tensors, header))",
                '    tensors["reference"] = torch.zeros(10, 80)\n    write_atomically(path, save(tensors, header))',
            ),
            Edit(
                _PROFILE,
                "from safetensors.torch import save",
                "import torch\nfrom safetensors.torch import save",
            ),
        ),
        "client/test_profile.py::test_a_voice_of_any_size_is_at_most_5000_numbers_and_so_is_its_file",
    ),
)
