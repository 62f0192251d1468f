from __future__ import annotations

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from edgekd.data import Images, Normalization
from edgekd.errors import ArtifactError
from edgekd.export.parity import TOP1_TOLERANCE, compare, run_onnx

CLASSES = 4
NORMALIZATION = Normalization(mean=(0.5,), std=(0.25,))


def _images(count: int, side: int = 2) -> Images:
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 256, (count, 1, side, side), generator=generator, dtype=torch.uint8)
    return Images(x=x, y=torch.zeros(count, dtype=torch.int64), ids=tuple(f"image-{i}" for i in range(count)))


def _logits(count: int, wrong: list[int]) -> torch.Tensor:
    """Logits for class 0, the right one, and for class 1 where `wrong`."""
    logits = torch.zeros(count, CLASSES)
    logits[:, 0] = 1.0
    logits[wrong, 1] = 2.0
    return logits


def test_equal_logits_pass():
    parity = compare(_logits(1000, [3]), _logits(1000, [3]), _images(1000))
    assert (parity.passed, parity.samples, parity.detail) == (True, 1000, None)
    assert (parity.equal_predictions, parity.top1_difference, parity.max_logit_difference) == (1.0, 0.0, 0.0)


@pytest.mark.parametrize(("wrong", "passed"), [([7], True), ([7, 8], False)], ids=["one of 1000", "two of 1000"])
@pytest.mark.parametrize("sign", [-1, 1], ids=["worse", "better"])
def test_the_accuracies_may_differ_by_a_tenth_of_a_point(wrong, passed, sign):
    assert TOP1_TOLERANCE == 0.001
    student, artifact = _logits(1000, []), _logits(1000, wrong)
    if sign > 0:
        student, artifact = artifact, student
    parity = compare(student, artifact, _images(1000))
    assert parity.passed is passed
    assert parity.top1_difference == pytest.approx(sign * len(wrong) / 1000)
    assert parity.equal_predictions == pytest.approx(1 - len(wrong) / 1000)
    assert parity.max_logit_difference == 2.0


def test_equal_accuracies_of_different_predictions_pass_and_the_difference_is_reported():
    parity = compare(_logits(1000, [1, 2, 3]), _logits(1000, [4, 5, 6]), _images(1000))
    assert parity.passed
    assert parity.top1_difference == 0.0
    assert parity.equal_predictions == pytest.approx(0.994)


def test_the_worst_batch_and_its_first_image_are_named():
    # Batches of 256: image 300 is in the second, 600, 601 and 602 in the third of four (1000 images).
    parity = compare(_logits(1000, []), _logits(1000, [300, 600, 601, 602]), _images(1000))
    assert parity.detail == "batch 3 of 4: 3 of 256 predictions differ, the first at 'image-600'"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_logits_that_are_not_finite_fail_even_with_equal_accuracy(value):
    artifact = _logits(1000, [])
    artifact[17, 3] = value
    if value == float("-inf"):  # the largest logit stays where it is
        assert torch.equal(artifact.argmax(1), _logits(1000, []).argmax(1))
    parity = compare(_logits(1000, []), artifact, _images(1000))
    assert not parity.passed
    assert parity.detail.endswith("the artifact's logits are not all finite")


def _sum_model(path, side: int = 2):
    """An ONNX file whose logits are the sum of the normalized pixels, times 0, 1, 2 and 3."""
    size = side * side
    weight = np.outer(np.ones(size), np.arange(CLASSES)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["input"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weight"], ["logits"]),
        ],
        "sum",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 1, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", CLASSES])],
        [helper.make_tensor("weight", TensorProto.FLOAT, weight.shape, weight.flatten())],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), path)
    return path


def test_a_file_is_run_on_normalized_images_in_their_order(tmp_path):
    images = _images(600)  # more than two batches of 256
    found = run_onnx(_sum_model(tmp_path / "sum.onnx"), images, NORMALIZATION)
    total = ((images.x.double() / 255 - 0.5) / 0.25).sum((1, 2, 3))
    torch.testing.assert_close(found.double(), total[:, None] * torch.arange(CLASSES), rtol=1e-4, atol=1e-4)


def _refused(path, images: Images) -> ArtifactError:
    with pytest.raises(ArtifactError) as caught:
        run_onnx(path, images, NORMALIZATION)
    assert caught.value.exit_code == 2
    assert caught.value.where == str(path)
    assert "export the artifact again" in caught.value.hint
    return caught.value


def test_a_missing_file_is_refused(tmp_path):
    assert "none.onnx" in _refused(tmp_path / "none.onnx", _images(1)).found


@pytest.mark.parametrize("content", [b"", b"text", b"\x08\x0a" + bytes(50)], ids=["empty", "text", "garbage"])
def test_a_file_that_is_no_onnx_is_refused(tmp_path, content):
    path = tmp_path / "bad.onnx"
    path.write_bytes(content)
    _refused(path, _images(1))


def test_a_truncated_file_is_refused(tmp_path):
    path = _sum_model(tmp_path / "sum.onnx")
    path.write_bytes(path.read_bytes()[:-40])
    _refused(path, _images(1))


def test_images_of_another_size_are_refused_with_theirs(tmp_path):
    error = _refused(_sum_model(tmp_path / "sum.onnx"), _images(1, side=3))
    assert "[1, 3, 3]" in error.expected
