"""Every target that EdgeKD carries keeps the promises of its kind."""

import tomllib

import pytest

from edgekd.hardware.data import data_folder
from edgekd.hardware.host import DOT_PRODUCTS
from edgekd.hardware.target import load_target, target_names

every_target = pytest.mark.parametrize("name", target_names())

# Compute capabilities of the Jetsons for which TensorRT has no int8.
NO_INT8 = ("5.3", "6.2")
RUNTIMES = {"ONNX Runtime CPU", "ONNX Runtime CUDA", "ONNX Runtime TensorRT", "TensorRT", "TVM", "ncnn"}
LLVM_CORES = {f"cortex-a{number}" for number in ("53", "55", "57", "72", "76", "78ae")} | {"carmel"}
LLVM_FEATURES = {
    "aarch64": {"asimd": "neon", "asimdhp": "fullfp16", "asimddp": "dotprod"},
    "x86_64": {"avx2": "avx2", "fma": "fma", "avx512f": "avx512f", "avx512_vnni": "avx512vnni"},
}


def test_there_are_targets():
    boards = {"rpi3", "rpi4", "rpi5", "rpi-zero2w", "rk3588", "rk3399", "rk3568"}
    jetsons = {"tx2", "tx2-nx", "nano", "xavier", "orin-nano", "agx-orin"}
    classes = {"generic-armv8.0", "generic-armv8.2-dotprod", "x86-64-vnni", "host"}
    assert boards | {f"jetson-{name}" for name in jetsons} | classes <= set(target_names())


@every_target
def test_a_target_is_named_as_its_file_and_cites_its_sources(name):
    target = load_target(name)
    assert target.name == name
    assert target.memory_bytes is None or target.memory_bytes >= 2**20
    for source in target.sources:
        assert source.url.startswith("https://")
        assert len(source.cite) > len("a manual")


@every_target
def test_every_fact_of_a_target_has_a_source(name):
    # Derived from the file itself, not from the code that checks it.
    content = tomllib.loads((data_folder("targets") / f"{name}.toml").read_text(encoding="utf-8"))
    facts = {f"processors.{table['kind']}.{key}" for table in content["processors"] for key in table}
    facts -= {fact for fact in facts if fact.endswith((".kind", ".title"))}
    facts |= {"memory_bytes"} & set(content)
    sourced = {fact for source in content["sources"] for fact in source["facts"]}
    assert facts <= sourced


@every_target
def test_every_artifact_runs_on_a_processor_of_the_target(name):
    target = load_target(name)
    for precision, kind in target.artifacts:
        processor = target.processor(kind)
        assert precision in (*processor.fast, *processor.runs)
        assert not set(processor.fast) & set(processor.runs)
    # Recipes ask for a budget in int8 by default, and TVM libraries are built from the fp32 file of the CPU.
    assert ("int8", "cpu") in target.artifacts
    assert ("fp32", "cpu") in target.artifacts


@every_target
def test_int8_is_fast_on_a_cpu_if_every_core_has_a_dot_product(name):
    for processor in load_target(name).processors:
        if processor.kind == "cpu":
            have_it = all(DOT_PRODUCTS & set(cores.isa) for cores in processor.cores)
            assert ("int8" in processor.fast) == have_it
            assert "fp16" not in processor.fast, "ONNX Runtime's CPU kernels compute in fp32"


@every_target
def test_gpus_without_int8_do_not_run_it_and_ship_fp16(name):
    target = load_target(name)
    for processor in target.processors:
        if processor.kind == "gpu":
            has_int8 = processor.compute_capability not in NO_INT8
            assert ("int8" in processor.fast) == has_int8
            assert "int8" not in processor.runs
            assert target.artifacts[0] == ("fp16", "gpu")
            # TensorRT refuses the uint8 activations of our int8 files.
            assert ("int8", "gpu") not in target.artifacts


@pytest.mark.parametrize("name", ["jetson-tx2", "jetson-tx2-nx", "jetson-nano"])
def test_jetsons_before_xavier_have_no_int8_on_the_gpu(name):
    assert load_target(name).processor("gpu").compute_capability in NO_INT8


@every_target
def test_names_of_runtimes_are_known(name):
    for processor in load_target(name).processors:
        assert set(processor.runtimes) <= RUNTIMES
        assert processor.runtime == {"cpu": "ONNX Runtime CPU", "gpu": "TensorRT"}[processor.kind]


@every_target
def test_tvm_compiles_for_the_cores_that_run_the_artifact(name):
    for processor in load_target(name).processors:
        described = dict(processor.tvm_target)
        if described["kind"] == "llvm":
            assert described.get("num-cores") == processor.threads
            assert (processor.cross_compiler is not None) == (described.get("mtriple") == "aarch64-linux-gnu")
        else:
            assert described["arch"] == f"sm_{processor.compute_capability.replace('.', '')}"


@every_target
def test_tvm_takes_every_description(name):
    tvm = pytest.importorskip("tvm")
    for processor in load_target(name).processors:
        assert tvm.target.Target(tvm_dictionary(processor)).kind.name == dict(processor.tvm_target)["kind"]


@every_target
def test_the_compiler_agrees_with_the_instruction_sets(name):
    """LLVM knows what its processors have, independently of who wrote the target file."""
    codegen = pytest.importorskip("tvm.target.codegen")
    tvm = pytest.importorskip("tvm")
    cpu = load_target(name).processor("cpu")
    named = {cores.name.lower(): cores for cores in cpu.cores if cores.name.lower() in LLVM_CORES}
    described = tvm_dictionary(cpu)
    if "mtriple" in described:
        named[described.get("mcpu", "generic")] = cpu.cores[0]
    for core, cores in named.items():
        wanted = {**described, "mcpu": core, "mattr": described.get("mattr", []) if core == "generic" else []}
        features = codegen.llvm_get_cpu_features(tvm.target.Target(wanted))
        for isa, feature in LLVM_FEATURES[described["mtriple"].split("-")[0]].items():
            assert (isa in cores.isa) == (feature in features), f"{core}: {isa}"


def tvm_dictionary(processor):
    return {key: list(value) if isinstance(value, tuple) else value for key, value in processor.tvm_target}
