"""Sensors on recorded trees of files and lines of programs, as boards have them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from edgekd.agent.energy import Meter, Sensor, SensorError
from edgekd.agent.sensors import command_sensor, find_sensors, named_sensor, parse_pmic, parse_tegrastats


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return root


# A Jetson TX2 with JetPack 4: milliwatts, as the driver of NVIDIA's kernel shows them.
IIO = "sys/bus/i2c/drivers/ina3221x/0-0041/iio:device1"
JETPACK_4 = {
    "sys/bus/i2c/drivers/ina3221x/0-0040/iio:device0/rail_name_0": "VDD_SYS_GPU",
    "sys/bus/i2c/drivers/ina3221x/0-0040/iio:device0/in_power0_input": "152",
    f"{IIO}/rail_name_0": "VDD_IN",
    f"{IIO}/in_power0_input": "3281",
    f"{IIO}/rail_name_1": "VDD_SYS_CPU",
    f"{IIO}/in_power1_input": "305",
    f"{IIO}/rail_name_2": "NC",
}
# A Jetson Orin Nano with JetPack 5: millivolts and milliamperes, as the driver of the mainline kernel shows them.
HWMON = "sys/bus/i2c/drivers/ina3221/1-0040/hwmon/hwmon4"
JETPACK_5 = {
    f"{HWMON}/in1_label": "VDD_IN",
    f"{HWMON}/in1_input": "5000",
    f"{HWMON}/curr1_input": "928",
    f"{HWMON}/in2_label": "VDD_CPU_GPU_CV",
    f"{HWMON}/in2_input": "4992",
    f"{HWMON}/curr2_input": "104",
    f"{HWMON}/in7_label": "sum of shunt voltages",
    f"{HWMON}/in7_input": "10",
}
RAPL = {
    "sys/class/powercap/intel-rapl:0/name": "package-0",
    "sys/class/powercap/intel-rapl:0/energy_uj": "262143000000",
    "sys/class/powercap/intel-rapl:0/max_energy_range_uj": "262143328850",
    "sys/class/powercap/intel-rapl:0:0/name": "core",
    "sys/class/powercap/intel-rapl:0:0/energy_uj": "1000000",
    "sys/class/powercap/intel-rapl:0:0/max_energy_range_uj": "262143328850",
}


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        (JETPACK_4, {"ina3221:VDD_IN": 3.281, "ina3221:VDD_SYS_CPU": 0.305, "ina3221:VDD_SYS_GPU": 0.152}),
        (JETPACK_5, {"ina3221:VDD_IN": 4.64, "ina3221:VDD_CPU_GPU_CV": 0.519168}),
        (RAPL, {"rapl:package-0": 262143.0, "rapl:core": 1.0}),
    ],
    ids=["JetPack 4", "JetPack 5", "RAPL"],
)
def test_sensors_are_found_in_both_layouts_and_the_widest_comes_first(tmp_path, files, expected):
    sensors = find_sensors(tree(tmp_path, files))
    assert [sensor.name for sensor in sensors] == list(expected)
    for sensor in sensors:
        assert sensor.read() == pytest.approx(expected[sensor.name])


def test_what_flows_through_a_rail_is_said(tmp_path):
    includes = {sensor.name: sensor.includes for sensor in find_sensors(tree(tmp_path, JETPACK_4))}
    assert includes["ina3221:VDD_IN"] == "VDD_IN rail, the whole module"
    assert includes["ina3221:VDD_SYS_CPU"] == "VDD_SYS_CPU rail only"


def test_a_device_without_sensors_has_none_and_a_wrong_name_is_told_the_others(tmp_path):
    assert find_sensors(tmp_path) == []
    with pytest.raises(SensorError, match="no sensor 'ina3221:VDD_IN' here, only: none"):
        named_sensor("ina3221:VDD_IN", tmp_path)
    tree(tmp_path, RAPL)
    assert named_sensor("rapl:core", tmp_path).read() == 1.0
    with pytest.raises(SensorError, match="only: rapl:package-0, rapl:core"):
        named_sensor("rapl:dram", tmp_path)


@pytest.mark.parametrize(
    ("line", "rails"),
    [
        (
            "RAM 1892/7846MB (lfb 1087x4MB) CPU [1%@345,off,off,0%@345,0%@345,1%@345] EMC_FREQ 0% PLL@35C Tboard@31C "
            "VDD_IN 2532/2532 VDD_CPU 152/152 VDD_GPU 76/76 VDD_SOC 457/457 VDD_WIFI 0/0 VDD_DDR 287/287",
            {"VDD_IN": 2.532, "VDD_CPU": 0.152, "VDD_GPU": 0.076, "VDD_SOC": 0.457, "VDD_WIFI": 0.0, "VDD_DDR": 0.287},
        ),
        (
            "RAM 2448/7622MB (lfb 2x4MB) SWAP 0/3811MB (cached 0MB) CPU [0%@729,0%@729] GR3D_FREQ 0% "
            "cpu@44.8C tj@45.1C VDD_IN 4640mW/4628mW VDD_CPU_GPU_CV 519mW/512mW VDD_SOC 1402mW/1400mW",
            {"VDD_IN": 4.64, "VDD_CPU_GPU_CV": 0.519, "VDD_SOC": 1.402},
        ),
    ],
    ids=["JetPack 4", "JetPack 5"],
)
def test_tegrastats_gives_the_power_of_each_rail_now(line, rails):
    assert parse_tegrastats(line) == pytest.approx(rails)


def test_the_power_controller_of_a_raspberry_pi_gives_current_times_voltage():
    text = """
     3V7_WL_SW_A current(0)=0.00195226A
        3V3_SYS_A current(1)=0.08099900A
       VDD_CORE_A current(7)=1.08750000A
     3V7_WL_SW_V volt(8)=3.72350900V
        3V3_SYS_V volt(9)=3.30936200V
       VDD_CORE_V volt(15)=0.72124050V
         EXT5V_V volt(24)=5.15608000V
    """
    watts = parse_pmic(text)
    assert watts == pytest.approx({"3V7_WL_SW": 0.0072693, "3V3_SYS": 0.268055, "VDD_CORE": 0.784349}, rel=1e-4)


# Metering


class Clock:
    """A sensor of power that follows a list, and then fails or stays."""

    def __init__(self, values: list[float], *, ends: bool = False) -> None:
        self.values, self.ends, self.reads = values, ends, 0

    def __call__(self) -> float:
        self.reads += 1
        if self.reads > len(self.values):
            if self.ends:
                raise OSError("the file is gone")
            return self.values[-1]
        return self.values[self.reads - 1]


def _busy(seconds: float) -> None:
    import time

    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        time.sleep(0.001)


def test_power_is_summed_up_over_time():
    with Meter(Sensor("test", "nothing", Clock([2.0]), interval_s=0.005)) as meter:
        _busy(0.1)
    found = meter.result()
    assert found["joules"] == pytest.approx(2.0 * found["seconds"])
    assert found["mean_w"] == pytest.approx(2.0)
    assert found["samples"] >= 3
    assert found["samples_per_second"] == pytest.approx(found["samples"] / found["seconds"])


def test_a_counter_is_read_at_both_ends_and_may_start_again():
    with Meter(Sensor("test", "nothing", Clock([10.0, 17.5]), is_counter=True)) as meter:
        pass
    assert meter.result()["joules"] == pytest.approx(7.5)
    with Meter(Sensor("test", "nothing", Clock([98.0, 3.0]), is_counter=True, wraps_at=100.0)) as meter:
        pass
    assert meter.result()["joules"] == pytest.approx(5.0)
    with Meter(Sensor("test", "nothing", Clock([98.0, 3.0]), is_counter=True)) as meter:
        pass
    with pytest.raises(SensorError, match="went backwards by 95 J"):
        meter.result()


def test_a_sensor_that_stops_gives_no_number():
    with Meter(Sensor("rail", "nothing", Clock([1.0, 1.0], ends=True), interval_s=0.002)) as meter:
        _busy(0.05)
    with pytest.raises(SensorError, match="rail stopped after 2 samples: the file is gone"):
        meter.result()


METER = "import sys, time\nfor i in range(400):\n    print('%.3f W' % 1.25, flush=True)\n    time.sleep(0.01)\n"


def test_a_meter_of_the_user_s_own_is_read_line_by_line(tmp_path):
    (tmp_path / "meter.py").write_text(METER)
    sensor = command_sensor(f"{sys.executable} {tmp_path / 'meter.py'}")
    try:
        with Meter(sensor) as meter:
            _busy(0.3)
        assert meter.result()["mean_w"] == pytest.approx(1.25)
        assert "meter.py" in sensor.includes
    finally:
        sensor.close()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("print('1.5', flush=True)", "the command ended with 0"),
        ("print('no reading', flush=True); import time; time.sleep(5)", "a line without a number: 'no reading'"),
        ("raise SystemExit(3)", "the command printed nothing"),
    ],
)
def test_a_meter_that_ends_or_prints_words_is_told(tmp_path, program, message):
    (tmp_path / "meter.py").write_text(program)
    sensor = command_sensor(f"{sys.executable} {tmp_path / 'meter.py'}")
    try:
        with Meter(sensor) as meter:
            _busy(0.5)
        with pytest.raises(SensorError, match=message):
            meter.result()
    finally:
        sensor.close()
