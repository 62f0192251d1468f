"""Weights as training loops leave them, and weights that are not float32."""

from __future__ import annotations

import textwrap
import zipfile
from pathlib import Path

import pytest
import torch
from networks import INPUT_SHAPE, build, images
from safetensors.torch import save_file
from torch import nn

from edgekd.errors import ModelError, UnknownNameError
from edgekd.models.load import LoadedModel, from_module, load_model
from edgekd.models.quiet import quiet_torch
from edgekd.records import TensorSpec

ARCH = "networks_to_load:make"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Work in a folder whose `networks_to_load:make` builds the plain network, untrained."""
    (tmp_path / "networks_to_load.py").write_text("import networks\n\n\ndef make():\n    return networks.plain()\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _state(seed: int = 0, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + name: tensor for name, tensor in build("plain", seed).state_dict().items()}


def _load(content: object, **options) -> LoadedModel:
    torch.save(content, "weights.pt")
    return load_model(Path("weights.pt"), arch=ARCH, input_shape=INPUT_SHAPE, **options)


def _assert_weights(model: LoadedModel, seed: int) -> None:
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(3)), build("plain", seed)(images(3)), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net", "weights"])
def test_a_wrapped_state_dict_is_found_beside_what_training_needs(key):
    optimizer = torch.optim.SGD(build("plain").parameters(), lr=0.1, momentum=0.9).state_dict()
    model = _load({"epoch": 7, key: _state(), "optimizer": optimizer, "best_acc": 0.9, "arch": "plain"})
    _assert_weights(model, 0)
    (remark,) = model.remarks
    assert (remark.level, remark.code, remark.subject) == ("note", "checkpoint-entry", "weights.pt")
    assert f"'{key}'" in remark.message


@pytest.mark.parametrize("key", ["state_dict_ema", "model_ema", "ema"])
def test_averaged_weights_are_taken_and_the_remark_tells_how_to_take_the_others(key):
    model = _load({"state_dict": _state(0), key: _state(1)})
    _assert_weights(model, 1)
    (remark,) = model.remarks
    assert "EMA" in remark.message
    assert "--checkpoint-key: state_dict" in remark.hint
    _assert_weights(_load({"state_dict": _state(0), key: _state(1)}, checkpoint_key="state_dict"), 0)


def test_an_entry_one_level_down_can_be_named():
    _assert_weights(_load({"models": {"teacher": _state(0), "student": _state(1)}}, checkpoint_key="models.student"), 1)


def test_of_several_unknown_entries_none_is_guessed():
    with pytest.raises(ModelError) as caught:
        _load({"generator": _state(0), "critic": _state(1)})
    assert "--checkpoint-key: generator, critic" in caught.value.hint


def test_an_entry_that_is_not_there_is_answered_with_those_that_are():
    with pytest.raises(UnknownNameError) as caught:
        _load({"state_dict": _state(), "model_ema": _state()}, checkpoint_key="model_em")
    assert "Did you mean 'model_ema'?" in caught.value.hint


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module.model."])
def test_prefixes_of_wrappers_are_taken_off(prefix):
    model = _load(_state(prefix=prefix))
    _assert_weights(model, 0)
    assert [remark.code for remark in model.remarks] == ["prefix-stripped"]
    assert f"'{prefix}'" in model.remarks[0].message


def test_prefixes_in_safetensors_are_taken_off_too(folder):
    save_file(_state(prefix="model."), folder / "weights.safetensors")
    model = load_model(folder / "weights.safetensors", arch=ARCH, input_shape=INPUT_SHAPE)
    _assert_weights(model, 0)
    assert [remark.code for remark in model.remarks] == ["prefix-stripped"]


def test_the_averaged_model_of_torch_is_recognised():
    averaged = torch.optim.swa_utils.AveragedModel(build("plain"))
    _assert_weights(_load({"model_ema": averaged.state_dict(), "model": _state(1)}), 0)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_other_floats_become_float32_and_that_is_said(kind):
    state = {n: t.to(kind) if t.is_floating_point() else t for n, t in _state().items()}
    model = _load(state)
    assert {tensor.dtype for tensor in model.network.parameters()} == {torch.float32}
    (remark,) = model.remarks
    assert remark.code == "weights-converted"
    assert str(kind).removeprefix("torch.") in remark.message
    assert "of the largest" in remark.message


def test_a_float64_program_becomes_a_float32_network_and_that_is_said(folder):
    with quiet_torch():
        program = torch.export.export(
            build("plain").double(), (images(2).double(),), dynamic_shapes=({0: torch.export.Dim.AUTO},), strict=False
        )
        torch.export.save(program, "net.pt2")
    model = load_model(folder / "net.pt2")
    _assert_weights(model, 0)
    assert {tensor.dtype for tensor in model.network.parameters()} == {torch.float32}
    assert [remark.code for remark in model.remarks] == ["weights-converted"]


class _Cancelling(nn.Module):
    """Needs float64: adds and takes away a number that float32 cannot hold beside a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Parameter(torch.tensor(1e12, dtype=torch.float64))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x.mean((2, 3)) + self.large) - self.large


def test_a_network_that_needs_float64_is_refused():
    with pytest.raises(ModelError) as caught:
        from_module(_Cancelling(), (images(2),))
    assert caught.value.expected == "a network that computes the same in float32"


def test_complex_weights_are_refused_by_name():
    state = _state()
    state["0.weight"] = state["0.weight"].to(torch.complex64)
    with pytest.raises(ModelError) as caught:
        _load(state)
    assert caught.value.found == "complex numbers in '0.weight'"


def test_weights_without_values_are_refused_by_name():
    state = {n: t.to("meta") if n == "0.weight" else t for n, t in _state().items()}
    with pytest.raises(ModelError) as caught:
        _load(state)
    assert "'0.weight'" in caught.value.found
    assert "meta" in caught.value.found


def test_an_architecture_that_is_not_needed_is_remarked_upon(folder):
    torch.save(build("plain"), "net.pt")
    model = load_model(Path("net.pt"), arch=ARCH, input_shape=INPUT_SHAPE, trust_pickle=True)
    assert [remark.code for remark in model.remarks] == ["arch-not-used"]


def test_a_wrong_suffix_is_remarked_upon(folder):
    save_file(_state(), folder / "weights.onnx")
    model = load_model(Path("weights.onnx"), arch=ARCH, input_shape=INPUT_SHAPE)
    (remark,) = model.remarks
    assert (remark.code, remark.hint) == ("wrong-suffix", "Call it weights.safetensors.")


# From Python


@pytest.mark.parametrize("examples", [(images(2),), {"input": images(2)}], ids=["tuple", "by name"])
def test_a_module_is_taken_as_a_file_would_be_and_left_as_it_is(examples):
    module = build("depthwise").train()
    model = from_module(module, examples)
    assert module.training
    assert (model.form, model.image_shape, model.classes) == ("module", INPUT_SHAPE, 5)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(3)), build("depthwise")(images(3)), rtol=1e-5, atol=1e-5)
    assert model.digest == from_module(build("depthwise"), examples).digest
    assert model.digest != from_module(build("depthwise", seed=1), examples).digest


def test_a_module_on_the_meta_device_is_refused():
    with pytest.raises(ModelError, match="meta device"):
        from_module(build("plain").to("meta"), (images(2),))


# Hostile and large


def _zip(path: Path, entries: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def test_a_zip_bomb_is_refused_before_it_unpacks(folder):
    path = _zip(folder / "net.pt2", {"net/data.pkl": bytes(200 * 2**20)})
    with pytest.raises(ModelError) as caught:
        load_model(path)
    assert "a zip bomb" in caught.value.found


@pytest.mark.parametrize("name", ["../escape", "/etc/passwd", "net/../../escape", "net\\..\\escape", "C:\\escape"])
def test_an_entry_that_points_outside_is_refused(folder, name):
    with pytest.raises(ModelError) as caught:
        load_model(_zip(folder / "net.pt", {"net/data.pkl": b"\x80\x02.", name: b"x"}))
    assert repr(name) in caught.value.found


# From other devices, and for networks of several inputs


def test_weights_that_lay_on_a_gpu_are_loaded_without_one(folder):
    torch.save(_state(), folder / "cpu.pt")
    # As torch writes a file of a network that was on a GPU: every storage names its device.
    with zipfile.ZipFile(folder / "cpu.pt") as source, zipfile.ZipFile(folder / "weights.pt", "w") as copy:
        for entry in source.infolist():
            content = source.read(entry)
            if entry.filename.endswith("data.pkl"):
                moved = content.replace(b"X\x03\x00\x00\x00cpu", b"X\x06\x00\x00\x00cuda:0")
                assert moved != content
                content = moved
            copy.writestr(entry.filename, content)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(folder / "weights.pt")
    model = load_model(Path("weights.pt"), arch=ARCH, input_shape=INPUT_SHAPE)
    _assert_weights(model, 0)
    assert {parameter.device.type for parameter in model.network.parameters()} == {"cpu"}


@pytest.fixture
def two_inputs(folder):
    source = """
    import torch

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.words = torch.nn.Embedding(10, 5)

        def forward(self, ids, scale):
            return self.words(ids).mean(1) * scale

    def make():
        return Net()
    """
    (folder / "pairs_to_load.py").write_text(textwrap.dedent(source))
    torch.save({"words.weight": torch.ones(10, 5)}, "pair.pt")
    return "pairs_to_load:make"


def test_a_network_of_two_inputs_that_is_given_one_is_refused(two_inputs):
    with pytest.raises(ModelError, match="missing a required argument: 'scale'") as caught:
        load_model(Path("pair.pt"), arch=two_inputs, inputs=(TensorSpec(name="ids", shape=(7,), dtype="int64"),))
    assert caught.value.expected == "a network that takes 1 input of shape [batch, 7]"


def test_a_network_of_two_inputs_is_opened_with_two_sizes(two_inputs):
    inputs = (TensorSpec(name="a", shape=(7,), dtype="int64"), TensorSpec(name="b", shape=(5,)))
    model = load_model(Path("pair.pt"), arch=two_inputs, inputs=inputs)
    assert [(spec.name, spec.shape, spec.dtype) for spec in model.inputs] == [
        ("ids", (7,), "int64"),
        ("scale", (5,), "float32"),
    ]
