"""Sources with their licences, and what a reader must know of a profile."""

SOURCE_NCNN = "Tencent/ncnn, benchmark/README.md (commit a4d2ea1d4422), https://github.com/Tencent/ncnn, BSD-3-Clause"
SOURCE_SLIM = (
    "NVIDIA-AI-IOT/tf_to_trt_image_classification, README.md (commit 10822955cd9d), "
    "https://github.com/NVIDIA-AI-IOT/tf_to_trt_image_classification, BSD-3-style"
)
SOURCE_TORCH2TRT = (
    "NVIDIA-AI-IOT/torch2trt, benchmarks/ (commit 4e820ae31b4e), https://github.com/NVIDIA-AI-IOT/torch2trt, MIT"
)
SOURCE_HW_NAS_BENCH = (
    "Li et al., HW-NAS-Bench, ICLR 2021, https://arxiv.org/abs/2103.10584; values printed in example.ipynb of "
    "https://github.com/GATECH-EIC/HW-NAS-Bench (commit 393bb8a02554), MIT"
)
SOURCE_HELP = (
    "Lee et al., HELP, NeurIPS 2021, https://arxiv.org/abs/2106.08630; Raspberry Pi 4 latencies of NAS-Bench-201 "
    "in https://github.com/HayeonLee/HELP (commit 45f70eb92d0d), MIT"
)

_MLPERF_COMMITS = {"v1.1": "7fc43356c4d7", "v2.0": "425a0d30c6e0", "v2.1": "91f7859b8b58", "v3.0": "1948f9b5b93c"}


def source_mlperf(edition: str) -> str:
    """Return the citation of Krai's runs in an edition of MLPerf Inference."""
    return (
        f"MLPerf Inference {edition} results, submitter Krai, "
        f"https://github.com/mlcommons/inference_results_{edition} (commit {_MLPERF_COMMITS[edition]}), Apache-2.0. "
        "Latencies and energies were computed from the published logs and are not MLPerf results; MLPerf is a "
        "trademark of MLCommons."
    )


NOTE_RUNTIME = (
    "Measured in another runtime than the artifact's ONNX Runtime; the interval covers unseen networks, not the "
    "difference between runtimes."
)
NOTE_THREADS = "The logs do not say how many threads ran; all cores is likely."
NOTE_NCNN_FP16 = (
    "The networks are float ones; ncnn is thought to compute them in fp16 on these cores (Armv8.2 with fp16 "
    "arithmetic), which its table does not say. A runtime that computes in fp32 is slower."
)
NOTE_MLPERF_SPATIAL_FP32 = (
    "Only ResNet-50 has convolutions wider than 1x1 behind the first layer. Their rate, fitted without ResNet-50, "
    "predicts it to the error in the CSV. Networks made of such convolutions count as extrapolated."
)
NOTE_MLPERF_SPATIAL_INT8 = (
    "No network has convolutions wider than 1x1 behind the first layer. Their rate is an assumption, that of the 1x1 "
    "ones or the one the fit starts from, and networks that have them count as extrapolated."
)
NOTE_RPI4_INT8_SMALL = (
    "Small networks were not measured in int8; the interval of extrapolated networks is no narrower than in fp32."
)
NOTE_RPI4_NAS_BENCH = (
    "The CIFAR-size NAS-Bench-201 networks took more than twice as long as this model says, in TFLite with an "
    "unstated number of threads (one is likely). They are not in the fit: their absolute times belong to another "
    "setting. After one common factor they show what the model is worth on small networks (their own labels "
    "scatter by 8 %). The interval of extrapolated networks reaches up to them."
)
NOTE_TENSORRT_3 = (
    "TensorRT 3 of 2018, whose depthwise convolutions were slow; a current TensorRT differs, most of all there."
)
NOTE_COPIES = "The latencies of the 14 ImageNet networks include the copies to and from the GPU."
NOTE_TX2_ENERGY = (
    "The energy rests on three NAS-Bench-201 architectures at three input sizes, with 3 to 9 power samples each. "
    "It describes small networks that keep the GPU waiting for launches; larger ones draw more power."
)
NOTE_TX2_FP16_LAUNCHES = (
    "The time of launches is taken from the fp32 measurements, which have small networks where it shows: MobileNet v1 "
    "at the small end takes the same time in both precisions in the same table (2.67 and 2.65 ms, 3.95 and 4.00 ms)."
)
NOTE_TX2_FP16_ENERGY = (
    "Nobody published fp16 energy for this module. The numbers are the fp32 energy coefficients with the fp16 "
    "latency, likely too high, and always count as extrapolated."
)
NOTE_TX2_CPU = (
    "Measured on the TX2 NX, another module with the same kinds of cores (Denver 2 and Cortex-A57), not on the TX2: "
    "clocks and power limits differ. The same as the profile of jetson-tx2-nx. Energy was not published."
)
NOTE_TX2_NX = "The table does not say which kind of core, Denver 2 or Cortex-A57, ran one thread."
NOTE_TX2_NX_SIX = (
    "Six threads share two Denver 2 and four Cortex-A57 cores and wait for each other; the runs scatter by a fifth."
)
NOTE_VULKAN = (
    "ncnn's Vulkan backend, not TensorRT. Of several runs on the GPU the fastest counts; networks that ncnn leaves "
    "to the CPU in part (EfficientNet v2) are in the fit."
)
NOTE_TORCH2TRT = (
    "A table of 2019 that does not state the version of TensorRT; a current one differs. Networks with and without "
    "batch norm leave together when one is held out, because they are the same once it is folded."
)
NOTE_NANO_DEPTHWISE = (
    "No network of the table with a layer list has depthwise convolutions; their rate is an assumption, and networks "
    "that have them in earnest count as extrapolated."
)
NOTE_XAVIER_TENSORRT = (
    "On a GPU of this size one network at a time is bound by launches: the errors are large, above all for families "
    "that the fit has not seen. A ranking aid; measure on the board before a limit is trusted."
)
NOTE_RATIO = (
    "Only {networks} int8 networks were measured, too few for rates of their own: the rates of the float networks "
    "times the median ratio of the two."
)
