from __future__ import annotations

import pickle
import zipfile
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from networks import INPUT_SHAPE, build, images, rebuilt
from torch import nn

from edgekd.errors import ModelError, UnsafeFileError
from edgekd.models.load import load_model
from edgekd.models.quiet import quiet_torch
from edgekd.prune.groups import find_groups

SHARED = Path(__file__).resolve().parents[4] / "shared" / "models"


def _scripted(module: nn.Module, path: Path) -> Path:
    with quiet_torch():
        torch.jit.save(torch.jit.script(module), path)
    return path


def _traced(module: nn.Module, path: Path, shape: tuple[int, ...] = INPUT_SHAPE) -> Path:
    with quiet_torch():
        torch.jit.save(torch.jit.trace(module, (torch.zeros(1, *shape),)), path)
    return path


@pytest.mark.parametrize("save", [_scripted, _traced], ids=["scripted", "traced"])
@pytest.mark.parametrize("name", ["plain", "padded", "depthwise", "squeeze_excite", "shared"])
def test_a_torchscript_file_becomes_the_network_of_the_exported_program(tmp_path, save, name):
    model = load_model(save(build(name), tmp_path / "net.pt"), input_shape=INPUT_SHAPE)
    assert (model.form, model.remarks) == ("torchscript", ())
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(5)), build(name)(images(5)), rtol=1e-5, atol=1e-5)
    expected = rebuilt(name)
    kinds = (nn.Conv2d, nn.Linear, nn.BatchNorm2d)
    assert [n for n, m in model.network.named_modules() if isinstance(m, kinds)] == [
        n for n, m in expected.named_modules() if isinstance(m, kinds)
    ]
    assert [n for n, _ in model.network.named_parameters()] == [n for n, _ in expected.named_parameters()]
    assert find_groups(model.network).groups == find_groups(expected).groups


class _Branches(nn.Module):
    """What scripts have that traces lose: a branch on the mode, a loop over modules, lists."""

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.ModuleList([nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)])
        self.head = nn.Linear(8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        features: list[torch.Tensor] = []
        for stage in self.stages:
            x = F.relu_(stage(x))
            features.append(x.mean((2, 3)))
        if self.training:
            x = F.dropout(x, 0.5)
        total = torch.zeros_like(features[0])
        for feature in features:
            total = total + feature
        return self.head(torch.cat([total, features[-1]], 1))


def test_branches_on_the_mode_and_lists_of_a_script_are_followed(tmp_path):
    torch.manual_seed(0)
    module = _Branches().eval()
    model = load_model(_scripted(module, tmp_path / "net.pt"), input_shape=INPUT_SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(3)), module(images(3)), rtol=1e-5, atol=1e-5)
    assert isinstance(model.network.get_submodule("stages.1"), nn.Conv2d)


def test_a_script_saved_in_training_mode_is_opened_in_evaluation_mode(tmp_path):
    module = build("plain").train()
    model = load_model(_scripted(module, tmp_path / "net.pt"), input_shape=INPUT_SHAPE)
    with torch.no_grad():
        torch.testing.assert_close(model.network(images(3)), build("plain")(images(3)), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared teachers are not here")
def test_the_scripted_resnet_answers_as_its_exported_program():
    scripted = load_model(SHARED / "resnet56_cifar10jpeg.torchscript.pt", input_shape=(3, 32, 32))
    exported = load_model(SHARED / "resnet56_cifar10jpeg.pt2")
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(scripted.network(x), exported.network(x), rtol=0, atol=0)
    assert list(scripted.network.state_dict()) == list(exported.network.state_dict())


def test_a_wrong_input_size_is_said(tmp_path):
    path = _scripted(build("plain"), tmp_path / "net.pt")
    with pytest.raises(ModelError, match="--input-size"):
        load_model(path, input_shape=(1, 8, 8))


def test_a_script_needs_an_input_size(tmp_path):
    with pytest.raises(ModelError, match="--input-size 3,32,32"):
        load_model(_scripted(build("plain"), tmp_path / "net.pt"))


# What is refused before torch opens it


def _changed(path: Path, change) -> Path:
    """Rewrite an archive with `change(name, content)` in the place of every part."""
    target = path.with_name("changed.pt")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(target, "w") as out:
        for name in source.namelist():
            out.writestr(name, change(name, source.read(name)))
    return target


class _Saver(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        torch.save(x, "written-by-a-model")
        return x


def test_a_script_that_writes_files_is_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = _scripted(_Saver(), tmp_path / "net.pt")
    with pytest.raises(UnsafeFileError) as caught:
        load_model(path, input_shape=INPUT_SHAPE)
    assert caught.value.found == "code with 'save'"
    assert not (tmp_path / "written-by-a-model").exists()


@pytest.mark.parametrize(
    ("addition", "error", "named"),
    [
        ("\nclass Own:\n  pass\n", ModelError, "Own"),
        ("\n# __torch__.torch.classes.my_extension.Tokenizer\n", ModelError, "my_extension.Tokenizer"),
        ("\n# ops.torchvision.nms(x)\n", ModelError, "torchvision::nms"),
        ("\n# ops.aten.from_file(x)\n", UnsafeFileError, "from_file"),
        ("\n  def __setstate__(self):\n", UnsafeFileError, "__setstate__"),
    ],
    ids=["class", "extension class", "extension operator", "file", "hook"],
)
def test_what_torch_alone_does_not_have_is_named(tmp_path, addition, error, named):
    path = _scripted(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), tmp_path / "net.pt")
    changed = _changed(
        path, lambda n, d: d + addition.encode() if n.endswith("Sequential.py") or "container" in n else d
    )
    assert changed.read_bytes() != path.read_bytes()
    with pytest.raises(error) as caught:
        load_model(changed, input_shape=INPUT_SHAPE)
    assert named in caught.value.found
    assert caught.value.hint


def test_a_script_whose_values_name_other_things_is_refused(tmp_path):
    path = _scripted(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), tmp_path / "net.pt")
    hostile = pickle.dumps(Path.touch, protocol=2)
    changed = _changed(path, lambda n, d: hostile if n.endswith("/data.pkl") else d)
    with pytest.raises(ModelError) as caught:
        load_model(changed, input_shape=INPUT_SHAPE)
    assert "getattr" in caught.value.found


def test_a_damaged_script_says_so(tmp_path):
    path = _scripted(nn.Flatten(), tmp_path / "net.pt")
    changed = _changed(path, lambda n, d: b"\x80\x02" if n.endswith("/data.pkl") else d)
    with pytest.raises(ModelError) as caught:
        load_model(changed, input_shape=INPUT_SHAPE)
    assert caught.value.exit_code == 2
