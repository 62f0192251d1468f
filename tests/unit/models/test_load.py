from __future__ import annotations

import hashlib
import io
import itertools
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from networks import CLASSES, INPUT_SHAPE, build, images
from safetensors.torch import save_file
from torch import nn

from edgekd.errors import ModelError, UnsafeFileError
from edgekd.models.exported import export_program
from edgekd.models.load import load_model
from edgekd.models.quiet import quiet_torch
from edgekd.models.weights import build_architecture
from edgekd.records import TensorSpec

ARCH_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def program_bytes() -> bytes:
    """A saved exported program, as a user would make it."""
    return _saved(build("flattened"))


def _saved(module: nn.Module, input_shape: tuple[int, ...] = INPUT_SHAPE) -> bytes:
    buffer = io.BytesIO()
    with quiet_torch():
        torch.export.save(export_program(module, (torch.zeros(2, *input_shape),)), buffer)
    return buffer.getvalue()


def _torch_saved(value: object) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


@pytest.fixture
def arch(tmp_path, monkeypatch):
    """Write a module into the working folder and return the `--arch` of its `make`.

    The modules have different names because Python imports a name once.
    """
    monkeypatch.chdir(tmp_path)

    def write(body: str) -> str:
        name = f"own_networks_{next(ARCH_NUMBERS)}"
        Path(f"{name}.py").write_text(f"import torch\nfrom torch import nn\n\n\n{body}\n")
        return f"{name}:make"

    return write


SMALL = """
def make():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
"""


def _small() -> nn.Sequential:
    layers = (nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, CLASSES))
    return nn.Sequential(*layers).eval()


def _refused(path: Path, error: type[ModelError | UnsafeFileError] = ModelError, **options) -> ModelError:
    """Load, and return the error after checking that every field of it says something."""
    with pytest.raises(error) as caught:
        load_model(path, **options)
    assert caught.value.exit_code == 2
    assert all((caught.value.where, caught.value.expected, caught.value.found, caught.value.hint))
    return caught.value


def _written(tmp_path: Path, name: str, content: bytes) -> Path:
    path = tmp_path / name
    path.write_bytes(content)
    return path


# What is accepted


def test_an_exported_program_comes_back_with_its_logits_shape_classes_and_digest(tmp_path, program_bytes):
    path = _written(tmp_path, "net.pt2", program_bytes)
    model = load_model(path)
    assert (model.form, model.image_shape, model.classes) == ("pt2", INPUT_SHAPE, CLASSES)
    assert model.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(4)), build("flattened")(images(4)), rtol=1e-5, atol=1e-5)


def test_the_name_of_the_file_does_not_matter(tmp_path, program_bytes):
    assert load_model(_written(tmp_path, "net.bin", program_bytes)).form == "pt2"


def test_safetensors_become_the_network_of_the_architecture(tmp_path, arch):
    module = _small()
    save_file(module.state_dict(), "weights.safetensors")
    model = load_model(Path("weights.safetensors"), arch=arch(SMALL), input_shape=INPUT_SHAPE)
    assert (model.form, model.classes) == ("safetensors", CLASSES)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(4)), module(images(4)))


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_state_dict_becomes_the_network_of_the_architecture(arch, is_zip):
    module = _small()
    torch.save(module.state_dict(), "weights.pt", _use_new_zipfile_serialization=is_zip)
    model = load_model(Path("weights.pt"), arch=arch(SMALL), input_shape=INPUT_SHAPE)
    assert model.form == "torch-zip"
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(4)), module(images(4)))


def test_a_state_dict_without_batch_counters_is_complete(arch):
    state = {k: v for k, v in _small().state_dict().items() if not k.endswith("num_batches_tracked")}
    save_file(state, "weights.safetensors")
    assert load_model(Path("weights.safetensors"), arch=arch(SMALL), input_shape=INPUT_SHAPE).classes == CLASSES


def test_the_input_size_may_come_from_the_card(arch):
    save_file(_small().state_dict(), "weights.safetensors")
    Path("weights.json").write_text(json.dumps({"input": {"shape": [1, *INPUT_SHAPE], "mean": [0.5], "std": [0.25]}}))
    model = load_model(Path("weights.safetensors"), arch=arch(SMALL))
    assert model.image_shape == INPUT_SHAPE
    assert (model.card.mean, model.card.std) == ((0.5,), (0.25,))


def test_a_pickled_module_is_opened_when_it_is_trusted(tmp_path):
    module = _small()
    path = _written(tmp_path, "net.pt", _torch_saved(module))
    model = load_model(path, input_shape=INPUT_SHAPE, trust_pickle=True)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(4)), module(images(4)))


# What is damaged or something else


def test_a_missing_file_is_named(tmp_path):
    error = _refused(tmp_path / "none.pt2")
    assert error.where == str(tmp_path / "none.pt2")
    assert error.found == "nothing there"
    assert "path" in error.hint


def test_a_folder_is_no_model_file(tmp_path):
    assert _refused(tmp_path).expected == "a readable model file"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"", "an empty file"),
        (b"# a text\nthat somebody named model.pt2\n", "a text file"),
        ("é\n".encode("latin-1") * 7, "14 bytes of an unknown format"),
        (b"\x89PNG\r\n\x1a\n" + bytes(100), "108 bytes of an unknown format"),
    ],
    ids=["empty", "text", "latin-1", "png"],
)
def test_a_file_of_another_kind_is_described(tmp_path, content, found):
    error = _refused(_written(tmp_path, "model.pt2", content))
    assert error.found == found
    assert all(form in error.hint for form in (".pt2", ".safetensors", "--arch"))


@pytest.mark.parametrize("share", [0.001, 0.5, 0.9], ids=["start", "half", "most"])
def test_a_truncated_program_is_a_damaged_archive(tmp_path, program_bytes, share):
    error = _refused(_written(tmp_path, "net.pt2", program_bytes[: int(len(program_bytes) * share)]))
    assert error.expected == "a whole zip archive"
    assert "again" in error.hint


def test_a_flipped_byte_is_found_wherever_it_is(tmp_path, program_bytes):
    # A byte between the parts may change nothing; one in a part must be found by its checksum.
    logits = build("flattened")(images(2))
    refused = 0
    for position in range(40, len(program_bytes), len(program_bytes) // 40):
        changed = bytearray(program_bytes)
        changed[position] ^= 0xFF
        try:
            model = load_model(_written(tmp_path, "net.pt2", bytes(changed)))
        except ModelError:
            refused += 1
        else:
            torch.testing.assert_close(model.network(images(2)), logits, rtol=1e-5, atol=1e-5)
    assert refused > 20


def test_a_program_that_lost_its_last_bytes_is_refused(tmp_path, program_bytes):
    # What is left ends with the archive inside it that holds the sample inputs, and is taken for that.
    assert "again" in _refused(_written(tmp_path, "net.pt2", program_bytes[:-10])).hint


def test_the_part_with_the_flipped_byte_is_named(tmp_path, program_bytes):
    with zipfile.ZipFile(io.BytesIO(program_bytes)) as archive:
        name = next(n for n in archive.namelist() if n.endswith("weights/weight_0"))
        content = archive.read(name)
    position = program_bytes.index(content)
    changed = program_bytes[:position] + bytes([content[0] ^ 0xFF]) + program_bytes[position + 1 :]
    error = _refused(_written(tmp_path, "net.pt2", changed))
    assert error.found == f"a damaged entry '{name}'"


def test_a_zip_of_other_things_is_no_model(tmp_path):
    path = tmp_path / "net.pt2"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "nothing here")
    assert "unknown format" in _refused(path).found or "text" in _refused(path).found


def test_a_program_without_its_graph_says_what_is_missing(tmp_path, program_bytes):
    path = _rewritten(tmp_path, program_bytes, lambda n, d: None if n.endswith("models/model.json") else d)
    error = _refused(path)
    assert error.expected == "a program saved by torch.export.save"
    assert torch.__version__.split("+")[0] in error.hint


def test_a_graph_that_is_no_json_is_damaged(tmp_path, program_bytes):
    path = _rewritten(tmp_path, program_bytes, lambda n, d: b"{" if n.endswith("models/model.json") else d)
    assert "models/model.json" in _refused(path).expected


def test_truncated_safetensors_are_refused(tmp_path, arch):
    save_file(_small().state_dict(), "weights.safetensors")
    content = Path("weights.safetensors").read_bytes()
    path = _written(tmp_path, "half.safetensors", content[: len(content) // 2])
    assert _refused(path, arch=arch(SMALL), input_shape=INPUT_SHAPE).expected == "a whole safetensors file"


@pytest.mark.parametrize("keep", [20, 200, -30])
def test_truncated_legacy_weights_are_refused(tmp_path, keep):
    buffer = io.BytesIO()
    torch.save(_small().state_dict(), buffer, _use_new_zipfile_serialization=False)
    _refused(_written(tmp_path, "old.pt", buffer.getvalue()[:keep]), (ModelError, UnsafeFileError))


def test_nan_weights_are_refused_by_name(tmp_path):
    module = _small()
    with torch.no_grad():
        module[1].bias[2] = float("nan")
    error = _refused(_written(tmp_path, "net.pt2", _saved(module)))
    assert error.found == "NaN or infinity in '1.bias'"
    assert "diverged" in error.hint


def test_inputs_and_outputs_are_named_with_shape_and_type(tmp_path):
    class Two(nn.Module):
        def forward(self, pixels: torch.Tensor, tokens: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"mean": pixels.mean((2, 3)), "next": tokens + 1}

    buffer = io.BytesIO()
    with quiet_torch():
        program = export_program(Two(), {"pixels": images(2), "tokens": torch.zeros(2, 7, dtype=torch.int64)})
        torch.export.save(program, buffer)
    model = load_model(_written(tmp_path, "net.pt2", buffer.getvalue()))
    pixels = TensorSpec(name="pixels", shape=INPUT_SHAPE)
    assert model.inputs == (pixels, TensorSpec(name="tokens", shape=(7,), dtype="int64"))
    mean = TensorSpec(name="mean", shape=(3,))
    assert model.outputs == (mean, TensorSpec(name="next", shape=(7,), dtype="int64"))
    assert [tuple(x.shape) for x in model.network(*model.examples(4))] == [(4, 3), (4, 7)]
    for what in ("image_shape", "classes"):
        with pytest.raises(ModelError, match="2"):
            getattr(model, what)


def test_a_network_that_does_not_classify_has_no_classes(tmp_path):
    model = load_model(_written(tmp_path, "net.pt2", _saved(nn.Conv2d(3, 4, 3))))
    with pytest.raises(ModelError) as caught:
        model.classes  # noqa: B018  (raises)
    assert caught.value.expected == "logits of shape [batch, classes]"
    assert caught.value.found == "1: logits [4, 6, 6]"


def test_a_network_for_vectors_has_no_image_shape(tmp_path):
    model = load_model(_written(tmp_path, "net.pt2", _saved(nn.Linear(3, 5), (3,))))
    with pytest.raises(ModelError) as caught:
        model.image_shape  # noqa: B018  (raises)
    assert caught.value.found.endswith("[3]")


def test_a_network_for_one_batch_size_is_refused_with_what_to_do(tmp_path):
    class Fixed(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.mean((2, 3)) + torch.zeros(2, 3)

    buffer = io.BytesIO()
    with quiet_torch():
        torch.export.save(torch.export.export(Fixed(), (images(2),)), buffer)
    error = _refused(_written(tmp_path, "net.pt2", buffer.getvalue()))
    assert error.expected == "a network that takes batches of any size, here of 3"
    assert "dynamic batch" in error.hint


def test_a_wrong_input_size_is_refused_with_the_right_one(tmp_path, program_bytes):
    error = _refused(_written(tmp_path, "net.pt2", program_bytes), input_shape=(3, 9, 9))
    assert error.where == "--input-size"
    assert "(3, 8, 8)" in error.expected
    assert error.found == "(3, 9, 9)"


# Weights and their architecture


def test_weights_need_an_architecture(tmp_path):
    save_file(_small().state_dict(), tmp_path / "weights.safetensors")
    error = _refused(tmp_path / "weights.safetensors", input_shape=INPUT_SHAPE)
    assert error.found == "weights without a network"
    assert "--arch package.module:factory" in error.hint


def test_weights_need_an_input_size(arch):
    save_file(_small().state_dict(), "weights.safetensors")
    error = _refused(Path("weights.safetensors"), arch=arch(SMALL))
    assert error.expected == "the size of the input"
    assert "--input-size 3,32,32" in error.hint


@pytest.mark.parametrize(
    ("value", "found"),
    [([torch.ones(2)], "a list"), ({"epoch": 3, "lr": 0.1}, "a dict of 'epoch', 'lr'"), (torch.ones(3), "a Tensor")],
    ids=["list", "no weights", "tensor"],
)
def test_something_else_than_a_state_dict_is_refused(tmp_path, value, found):
    error = _refused(_written(tmp_path, "weights.pt", _torch_saved(value)), input_shape=INPUT_SHAPE)
    assert error.found == found
    assert "state_dict()" in error.hint


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda state: state.pop("0.weight"), "missing 0.weight"),
        (lambda state: state.update({"9.weight": torch.ones(1)}), "unknown 9.weight"),
        (lambda state: state.update({"4.bias": torch.ones(7)}), "4.bias is [7], not [5]"),
    ],
    ids=["missing", "unknown", "shape"],
)
def test_weights_of_another_network_are_refused_with_the_first_differences(arch, change, found):
    state = _small().state_dict()
    change(state)
    save_file(state, "weights.safetensors")
    name = arch(SMALL)
    error = _refused(Path("weights.safetensors"), arch=name, input_shape=INPUT_SHAPE)
    assert error.found == found
    assert name in error.where


def test_of_many_differences_three_are_shown_and_the_others_counted(arch):
    state = {f"student_{name}": value for name, value in _small().state_dict().items()}
    save_file(state, "weights.safetensors")
    error = _refused(Path("weights.safetensors"), arch=arch(SMALL), input_shape=INPUT_SHAPE)
    # Convolution and linear layer have 2 tensors each, batch norm 4 and a counter that may be missing.
    missing, unknown = 2 + 4 + 2, 2 + 5 + 2
    assert error.found == f"missing 0.weight; missing 0.bias; missing 1.weight; and {missing + unknown - 3} more"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("no_such_module_at_all:make", "ModuleNotFoundError"),
        ("no_such_module_at_all", "no module or no factory in the name"),
        ("no_such_module_at_all:", "no module or no factory in the name"),
        ("torch.nn:NoSuchThing", "AttributeError"),
        (":make", "no module or no factory in the name"),
    ],
    ids=["module", "no colon", "no factory", "attribute", "no module"],
)
def test_an_architecture_that_is_not_there_is_refused(tmp_path, monkeypatch, name, found):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError) as caught:
        build_architecture(name)
    assert caught.value.where == f"--arch {name}"
    assert found in caught.value.found
    assert "callable without arguments" in caught.value.expected


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("def make():\n    raise OSError('no weights here')", "OSError: no weights here"),
        ("def make(classes):\n    return nn.Linear(classes, 1)", "TypeError"),
        ("def make():\n    return {'weight': 1}", "dict"),
        ("make = 3", "TypeError"),
        ("raise KeyError('at import')", "KeyError"),
        ("def make(:", "SyntaxError"),
    ],
    ids=["raises", "needs arguments", "no module", "not callable", "raises at import", "syntax error"],
)
def test_an_architecture_that_fails_is_refused(arch, body, found):
    name = arch(body)
    with pytest.raises(ModelError) as caught:
        build_architecture(name)
    assert caught.value.where == f"--arch {name}"
    assert found in caught.value.found


def test_looking_for_an_architecture_leaves_the_import_path_as_it_was(arch):
    import sys

    before = list(sys.path)
    build_architecture(arch(SMALL))
    with pytest.raises(ModelError):
        build_architecture("no_such_module_at_all:make")
    assert sys.path == before


# What would run code


class _Trap:
    """When it is unpickled, a file appears."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):
        return (Path.touch, (self.marker,))


@pytest.fixture
def marker(tmp_path) -> Path:
    return tmp_path / "code-has-run"


def _rewritten(tmp_path: Path, content: bytes, change, extra: dict[str, bytes] | None = None) -> Path:
    """Write the archive with `change(name, bytes)` in the place of each part; None leaves the part out."""
    path = tmp_path / "rewritten.pt2"
    with zipfile.ZipFile(io.BytesIO(content)) as source, zipfile.ZipFile(path, "w") as target:
        for name in source.namelist():
            changed = change(name, source.read(name))
            if changed is not None:
                target.writestr(name, changed)
        for name, value in (extra or {}).items():
            target.writestr(f"{source.namelist()[0].partition('/')[0]}/{name}", value)
    return path


def test_the_trap_works(marker):
    # Without this the tests below could pass because the trap is broken.
    pickle.loads(pickle.dumps(_Trap(marker)))  # noqa: S301  # it is ours
    assert marker.exists()


@pytest.mark.parametrize("is_zip", [True, False], ids=["zip", "legacy"])
def test_a_pickled_module_is_refused_and_does_not_run(tmp_path, marker, is_zip):
    module = _small()
    module.trap = _Trap(marker)
    torch.save(module, tmp_path / "net.pt", _use_new_zipfile_serialization=is_zip)
    error = _refused(tmp_path / "net.pt", UnsafeFileError, input_shape=INPUT_SHAPE)
    assert "--trust-pickle" in error.hint
    assert not marker.exists()
    load_model(tmp_path / "net.pt", input_shape=INPUT_SHAPE, trust_pickle=True)
    assert marker.exists()


def test_a_pickle_that_is_no_module_does_not_run_either(tmp_path, marker):
    _refused(_written(tmp_path, "net.pkl", pickle.dumps(_Trap(marker))), UnsafeFileError, input_shape=INPUT_SHAPE)
    assert not marker.exists()


def test_a_trusted_pickle_of_classes_that_are_not_here_says_where_to_run(tmp_path):
    content = pickle.dumps(_Trap(tmp_path)).replace(b"pathlib", b"pathlob")
    path = _written(tmp_path, "net.pkl", content)
    error = _refused(path, input_shape=INPUT_SHAPE, trust_pickle=True)
    assert "the folder that holds the network's source" in error.hint


def _config(content: bytes, **changes: object) -> bytes:
    document = json.loads(content)
    next(iter(document["config"].values())).update(changes)
    return json.dumps(document).encode()


def _constant(path_name: str) -> bytes:
    entry = {"path_name": path_name, "is_param": False, "use_pickle": False, "tensor_meta": None}
    return json.dumps({"config": {"c": entry}}).encode()


def _value_name(content: bytes, new: str) -> bytes:
    specs = json.loads(content)["graph_module"]["signature"]["input_specs"]
    old = next(s["user_input"]["arg"]["as_tensor"]["name"] for s in specs if "user_input" in s)
    return content.replace(json.dumps(old).encode(), json.dumps(new).encode())


# Each returns the bytes of a part or None for "as it was", given the part's name, its bytes, a pickled trap, the
# trap in torch's format, and Python source that springs the trap.
_ATTACKS = {
    "sample inputs": lambda n, d, raw, saved, code: saved if n.endswith("sample_inputs/model.pt") else d,
    "pickled weight": lambda n, d, raw, saved, code: (
        _config(d, use_pickle=True) if n.endswith("_weights_config.json") else saved if n.endswith("/weight_0") else d
    ),
    "pickled weight, said with a number": lambda n, d, raw, saved, code: (
        _config(d, use_pickle=1) if n.endswith("_weights_config.json") else saved if n.endswith("/weight_0") else d
    ),
    "expression": lambda n, d, raw, saved, code: (
        d.replace(b"Symbol('s", f"({code}) or Symbol('s".encode()) if n.endswith("models/model.json") else d
    ),
    "name of a value": lambda n, d, raw, saved, code: (
        _value_name(d, f"x={code}") if n.endswith("models/model.json") else d
    ),
    "custom object": lambda n, d, raw, saved, code: (
        _constant("custom_obj_0") if n.endswith("_constants_config.json") else d
    ),
    "opaque object": lambda n, d, raw, saved, code: (
        _constant("opaque_obj_0") if n.endswith("_constants_config.json") else d
    ),
    "opaque object in a folder": lambda n, d, raw, saved, code: (
        _constant("opaque_obj_0/tensor") if n.endswith("_constants_config.json") else d
    ),
    "weights of older torch": lambda n, d, raw, saved, code: d,
    "compiled library": lambda n, d, raw, saved, code: d,
    "two sample inputs": lambda n, d, raw, saved, code: d,
    "sample inputs in capitals": lambda n, d, raw, saved, code: None if n.endswith("sample_inputs/model.pt") else d,
}


@pytest.mark.parametrize("attack", _ATTACKS)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_a_program_with_code_in_it_is_refused_and_does_not_run(tmp_path, marker, program_bytes, attack):
    raw, saved = pickle.dumps(_Trap(marker)), _torch_saved(_Trap(marker))
    code = f"open({str(marker)!r}, 'w')"
    extra = {
        "custom object": {"data/constants/custom_obj_0": raw},
        "opaque object": {"data/constants/opaque_obj_0": raw},
        "opaque object in a folder": {"data/constants/opaque_obj_0/tensor": raw},
        "weights of older torch": {"data/weights/model.pt": saved},
        "compiled library": {"data/aotinductor/model/model.so": b"\x7fELF"},
        "two sample inputs": {"data/sample_inputs/model.pt": saved},
        "sample inputs in capitals": {"data/sample_inputs/model.PT": saved},
    }.get(attack)
    if attack == "two sample inputs":
        # The harmless one is last, where Python's zipfile looks, and the other first, where torch does.
        with zipfile.ZipFile(io.BytesIO(program_bytes)) as archive:
            name = next(n for n in archive.namelist() if n.endswith("sample_inputs/model.pt"))
            harmless = archive.read(name)
        path = _rewritten(
            tmp_path, program_bytes, lambda n, d: saved if n == name else d, {name.partition("/")[2]: harmless}
        )
    else:
        path = _rewritten(tmp_path, program_bytes, lambda n, d: _ATTACKS[attack](n, d, raw, saved, code), extra)
    assert path.read_bytes() != program_bytes
    error = _refused(path, UnsafeFileError)
    assert not marker.exists()
    assert error.where == str(path)
    assert error.expected == "weights and a graph, and nothing that runs"
    assert "--trust-pickle" in error.hint


@pytest.mark.parametrize("has_other_parts", [False, True], ids=["same parts", "other parts"])
def test_a_file_that_is_two_archives_does_not_run(tmp_path, marker, program_bytes, has_other_parts):
    """torch reads the directory that the end record points to, Python's zipfile the one just before that record."""
    saved = _torch_saved(_Trap(marker))

    def archive(change, pad: int) -> bytes:
        # A part's name is in its header and in the directory: `x/pad` keeps both archives' directories equally long.
        extra = {"extra/pad": bytes(pad)} if not has_other_parts or change is not None else {"extra/pod": bytes(pad)}
        return _rewritten(tmp_path, program_bytes, change or (lambda _, d: d), extra).read_bytes()

    def hostile_part(name: str, content: bytes) -> bytes:
        return saved if name.endswith("sample_inputs/model.pt") else content

    hostile = archive(hostile_part, 5000)
    harmless = archive(None, 5000 + len(hostile) - len(archive(None, 5000)))
    # Equal lengths make zipfile's correction of offsets, by what lies before the archive it found, come out right.
    assert len(harmless) == len(hostile)
    end = hostile[-22:]
    assert end[12:16] == harmless[-10:-6], "directories of different sizes"
    path = _written(tmp_path, "net.pt2", hostile[:-22] + harmless[:-22] + end)
    with zipfile.ZipFile(path) as seen:
        name = next(n for n in seen.namelist() if n.endswith("sample_inputs/model.pt"))
        assert seen.read(name) != saved, "the harmless one is what zipfile sees"
    assert torch._C.PyTorchFileReader(str(path)).get_record("data/sample_inputs/model.pt") == saved
    error = _refused(path, UnsafeFileError)
    assert ("two archives in one file" in error.found) == has_other_parts
    assert not marker.exists()


def test_a_rewritten_program_without_code_in_it_is_accepted(tmp_path, program_bytes):
    # Otherwise the refusals above might be for the rewriting.
    assert load_model(_rewritten(tmp_path, program_bytes, lambda _, d: d)).classes == CLASSES


def test_sample_inputs_with_code_run_only_when_trusted(tmp_path, marker, program_bytes):
    saved = _torch_saved(((_Trap(marker),), {}))
    path = _rewritten(tmp_path, program_bytes, lambda n, d: saved if n.endswith("sample_inputs/model.pt") else d)
    _refused(path, UnsafeFileError)
    assert not marker.exists()
    assert load_model(path, trust_pickle=True).classes == CLASSES
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    ['a");open("x","w");("', "a'b", "a\\b", "a\nb", "a(b)", "a=b", "a;b"],
    ids=["call", "quote", "backslash", "line break", "parentheses", "equals sign", "semicolon"],
)
def test_names_of_parameters_that_could_end_a_string_are_refused(tmp_path, program_bytes, name):
    def renamed(part: str, content: bytes) -> bytes:
        return content.replace(b'"0.0.weight"', json.dumps(name).encode()) if part.endswith(".json") else content

    assert repr(name[:80]) in _refused(_rewritten(tmp_path, program_bytes, renamed), UnsafeFileError).found


def test_names_of_parameters_that_module_dicts_allow_are_accepted(tmp_path):
    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.ModuleDict({"conv-3x3 a+b": nn.Conv2d(3, 4, 3)})

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.layers["conv-3x3 a+b"](x).mean((2, 3))

    model = load_model(_written(tmp_path, "net.pt2", _saved(Named().eval())))
    assert "layers.conv-3x3 a+b.weight" in model.network.state_dict()
    assert model.classes == 4


@pytest.mark.parametrize(
    "expression",
    [
        "Symbol('s77', positive=True, integer=True)",
        "Mul(Integer(2), Symbol('s0', positive=True, integer=True))",
        "Max(1, s0)",
        "FloorDiv(s0 - 1, 2) + 1",
        "-s0 * (s1 + 3) >= 2",
        "Float('0.5', precision=53)",
    ],
)
def test_the_expressions_that_torch_writes_are_plain(expression):
    from edgekd.models.archive import _is_plain_expression

    assert _is_plain_expression(expression)


@pytest.mark.parametrize(
    "expression",
    [
        "exec('x')",
        "exec(chr(120))",
        "__import__('os').system('true')",
        "().__class__",
        "s0.__class__",
        "(lambda: 1)()",
        "[x for x in (1, 2)]",
        "Symbol('s0').func('x')",
        "Symbol('open(1)')",
        "Symbol(eval)('x')",
        "Max(eval('1'), 2)",
        "f'{open(1)}'",
        "s0 if s1 else s2",
        "s0[0]",
        "x := 1",
        "import os",
        "",
        "(" * 1000 + "1" + ")" * 1000,
    ],
)
def test_expressions_that_could_run_something_are_not_plain(expression):
    from edgekd.models.archive import _is_plain_expression

    assert not _is_plain_expression(expression)
