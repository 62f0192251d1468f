from __future__ import annotations

import dataclasses
import importlib.util
import shutil

import numpy as np
import onnxruntime
import pytest
import torch
import zoo
from networks import INPUTS, images, rebuilt
from zoo.adapter import flat

from edgekd.errors import ExportError, MissingDependencyError
from edgekd.export.onnx.export import export_onnx
from edgekd.export.tvm.compile import build_library, require_tvm, run_on_host
from edgekd.hardware.target import load_target
from edgekd.models.rewrite import rebuild
from edgekd.records import TensorSpec

COMPILER = "aarch64-linux-gnu-g++"
needs_tvm = pytest.mark.skipif(importlib.util.find_spec("tvm") is None, reason="TVM is not installed: edgekd[tvm]")
needs_compiler = pytest.mark.skipif(
    shutil.which(COMPILER) is None, reason=f"no {COMPILER}: apt-get install g++-aarch64-linux-gnu"
)


@pytest.fixture(scope="module")
def onnx_path(tmp_path_factory):
    path = tmp_path_factory.mktemp("tvm") / "net.onnx"
    export_onnx(rebuilt("padded"), path, precision="fp32", inputs=INPUTS, metadata={})
    return path


@pytest.fixture
def processor():
    return load_target("rpi4").processor("cpu")


@needs_tvm
@needs_compiler
def test_a_library_is_elf_for_the_targets_machine(tmp_path, onnx_path, processor):
    library = tmp_path / "net.so"
    toolchain = build_library(onnx_path, library, processor=processor, inputs=INPUTS)
    header = library.read_bytes()[:20]
    # ELF, 64 bits, little-endian; type 3 is a shared object, machine 183 AArch64.
    assert header[:6] == b"\x7fELF\x02\x01"
    assert int.from_bytes(header[16:18], "little") == 3
    assert int.from_bytes(header[18:20], "little") == 183
    assert toolchain.startswith("apache-tvm ")
    assert toolchain.endswith(COMPILER)
    assert list(tmp_path.iterdir()) == [library]


@needs_tvm
@pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")
def test_a_library_for_the_host_runs_on_it(tmp_path, onnx_path):
    import tvm
    from tvm import relax

    processor = load_target("host").processor("cpu")
    require_tvm(processor)
    build_library(onnx_path, tmp_path / "net.so", processor=processor, inputs=INPUTS)
    x = images(1).numpy()
    machine = relax.VirtualMachine(tvm.runtime.load_module(str(tmp_path / "net.so")), tvm.cpu())
    result = machine["main"](tvm.runtime.tensor(x))
    found = (result if hasattr(result, "numpy") else result[0]).numpy()
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": x})[0]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@needs_tvm
def test_a_library_for_another_machine_than_the_targets_is_refused(tmp_path, onnx_path, processor):
    # The compiler of this machine cannot link AArch64 objects; whatever it says, nothing is left behind.
    wrong = dataclasses.replace(processor, cross_compiler=None)
    with pytest.raises(ExportError):
        build_library(onnx_path, tmp_path / "net.so", processor=wrong, inputs=INPUTS)
    assert list(tmp_path.iterdir()) == []


@needs_tvm
def test_the_same_network_compiled_for_this_machine_computes_what_onnxruntime_does(onnx_path):
    x = images(3).numpy()
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    expected = session.run(None, {"input": x})[0]
    np.testing.assert_allclose(run_on_host(onnx_path, x), expected, rtol=0, atol=1e-5 * np.abs(expected).max())


@needs_tvm
def test_a_damaged_file_is_refused(tmp_path):
    path = tmp_path / "bad.onnx"
    path.write_bytes(b"no onnx")
    with pytest.raises(ExportError) as caught:
        run_on_host(path, images(1).numpy())
    assert caught.value.where == str(path)
    assert caught.value.hint == "Leave TVM out: --export onnx."


@needs_tvm
def test_a_missing_compiler_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch, processor):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingDependencyError) as caught:
        require_tvm(processor)
    assert caught.value.exit_code == 3
    assert COMPILER in caught.value.expected
    assert "apt-get install g++-aarch64-linux-gnu" in caught.value.hint


def test_missing_tvm_is_named_with_the_command_that_installs_it(monkeypatch, processor):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "tvm" else found(name))
    with pytest.raises(MissingDependencyError) as caught:
        require_tvm(processor)
    assert "pip install 'edgekd[tvm]'" in caught.value.hint


@needs_tvm
def test_a_processor_without_a_tvm_target_is_refused(processor):
    with pytest.raises(ExportError) as caught:
        require_tvm(dataclasses.replace(processor, tvm_target=()))
    assert caught.value.where == f"TVM export for {processor.title}"
    assert "target file" in caught.value.hint


@needs_tvm
@needs_compiler
def test_nothing_is_missing_for_the_targets_that_ship():
    require_tvm(load_target("rpi4").processor("cpu"))


@needs_tvm
@pytest.mark.parametrize("name", ["dict_input", "bert"])
def test_a_network_of_several_inputs_computes_in_tvm_what_it_computes_in_torch(name, tmp_path):
    network, inputs = rebuild(zoo.program(name)), flat(zoo.NETWORKS[name].example_inputs(3, 0))
    specs = tuple(
        TensorSpec(name=f"input_{index}", shape=tuple(x.shape[1:]), dtype=str(x.dtype).removeprefix("torch."))
        for index, x in enumerate(inputs)
    )
    export_onnx(network, tmp_path / "net.onnx", precision="fp32", inputs=specs, metadata={})
    with torch.no_grad():
        expected = network(*inputs).numpy()
    found = run_on_host(tmp_path / "net.onnx", *(x.numpy() for x in inputs))
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
