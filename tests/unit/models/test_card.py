from __future__ import annotations

import pytest

from edgekd.errors import ModelError
from edgekd.models.card import Card, read_card


@pytest.fixture
def model(tmp_path):
    return tmp_path / "net.pt2"


def _write(model, text: str) -> None:
    model.with_suffix(".json").write_text(text, encoding="utf-8")


def test_without_a_card_nothing_is_known(model):
    assert read_card(model) == Card(input_shape=None, mean=None, std=None, classes=None)


def test_a_model_that_is_itself_json_is_not_its_own_card(tmp_path):
    path = tmp_path / "model.json"
    path.write_text("[1]")
    assert read_card(path) == Card()


def test_a_card_is_read(model):
    _write(
        model,
        '{"input": {"shape": [3, 8, 9], "mean": [0, 0.5, 1], "std": [1, 0.5, 2]},'
        ' "output": {"classes": ["cat", 7]}, "else": null}',
    )
    assert read_card(model) == Card(
        input_shape=(3, 8, 9), mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0), classes=("cat", "7")
    )


@pytest.mark.parametrize("shape", ["[1, 3, 8, 9]", "[3, 8, 9]"], ids=["with batch", "without"])
def test_the_batch_may_stand_in_the_shape(model, shape):
    _write(model, f'{{"input": {{"shape": {shape}}}}}')
    assert read_card(model).input_shape == (3, 8, 9)


@pytest.mark.parametrize("text", ["{}", '{"input": null, "output": 3}', '{"input": {"shape": null}}'])
def test_what_a_card_leaves_out_is_unknown(model, text):
    _write(model, text)
    assert read_card(model) == Card()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "a JSON object"),
        ("{", "a JSON object"),
        ("[]", "a JSON object"),
        ('"text"', "a JSON object"),
        ('{"input": {"shape": [8, 8]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": [3, 8, 8.5]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": [3, "8", 8]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": [3, true, 8]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": "3,8,8"}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": 3}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": {"c": 3}}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": [1, 2, 3, 8, 9]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": [0, 8, 8]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"shape": [3, -8, 8]}}', "'input.shape' of channels, height, width"),
        ('{"input": {"mean": 0.5}}', "'input.mean' as a list of numbers"),
        ('{"input": {"mean": [null]}}', "'input.mean' as a list of numbers"),
        ('{"input": {"std": ["1"]}}', "'input.std' as a list of numbers"),
        ('{"output": {"classes": 10}}', "'output.classes' as a list of names"),
        ('{"output": {"classes": "cat"}}', "'output.classes' as a list of names"),
    ],
)
def test_a_wrong_card_is_refused_with_what_it_should_say(model, text, expected):
    _write(model, text)
    with pytest.raises(ModelError) as caught:
        read_card(model)
    assert caught.value.where == str(model.with_suffix(".json"))
    assert caught.value.expected == expected
    assert all(option in caught.value.hint for option in ("--input-size", "--mean", "--std"))


def test_a_card_that_is_no_text_is_refused(model):
    model.with_suffix(".json").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(ModelError, match="a JSON object"):
        read_card(model)
