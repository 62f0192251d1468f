"""The sensors of boards and processors, found by looking for their files and programs."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgekd.agent.energy import Sensor, SensorError

# Rails that carry everything a module uses, by the names NVIDIA gave them on its boards.
_TOTAL_RAILS = ("VDD_IN", "POM_5V_IN", "VDD_SYS_5V0", "VIN_SYS_5V0", "5V0_IN")
_TIMEOUT_S = 5.0


def find_sensors(root: Path = Path("/")) -> list[Sensor]:
    """Return the sensors of this device, the ones that include most first; `root` is where `/` is."""
    found = _ina3221_iio(root) + _ina3221_hwmon(root)
    if not found:
        found = _tegrastats()
    return found + _pmic() + _rapl(root)


def named_sensor(name: str, root: Path = Path("/")) -> Sensor:
    """Return the sensor of that name; `command:...` is the user's own.

    Raises:
        SensorError: There is none of that name here.
    """
    if name.startswith("command:"):
        return command_sensor(name[len("command:") :])
    found = find_sensors(root)
    for sensor in found:
        if sensor.name == name:
            return sensor
    known = ", ".join(sensor.name for sensor in found) or "none"
    raise SensorError(f"no sensor '{name}' here, only: {known}")


def command_sensor(command: str) -> Sensor:
    """Return a sensor that reads watts, one number a line, from a command that keeps running (a USB or wall meter)."""
    process = subprocess.Popen(  # noqa: S602  (the user's own command, in the user's shell)
        command,
        shell=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        universal_newlines=True,
    )
    latest: list[tuple[float, float]] = []
    bad: list[str] = []

    def follow() -> None:
        for line in _lines(process):
            number = re.search(r"[-+]?\d*\.?\d+(?:[eE][-+]?\d+)?", line)
            if number is None:
                bad.append(line.strip())
                break
            latest[:] = [(time.perf_counter(), float(number.group()))]

    threading.Thread(target=follow, daemon=True).start()

    def read() -> float:
        deadline = time.perf_counter() + _TIMEOUT_S
        while not latest and process.poll() is None and not bad and time.perf_counter() < deadline:
            time.sleep(0.01)
        if bad:
            raise SensorError(f"a line without a number: '{bad[0][:80]}'")
        if not latest:
            raise SensorError("the command printed nothing")
        if process.poll() is not None:
            raise SensorError(f"the command ended with {process.returncode}")
        if time.perf_counter() - latest[0][0] > _TIMEOUT_S:
            raise SensorError(f"no line for {_TIMEOUT_S:g} s")
        return latest[0][1]

    return Sensor(
        "command", f"what the command measures: {command}", read, interval_s=0.05, close=lambda: _end(process)
    )


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    """Yield what a process prints, until it ends."""
    if process.stdout is not None:
        with process.stdout as stream:
            yield from stream


def _end(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()


def _read_text(path: Path) -> str:
    return path.read_text().strip()


def _ina3221_iio(root: Path) -> list[Sensor]:
    """JetPack 4: `rail_name_<n>` and `in_power<n>_input` in milliwatts."""
    rails: dict[str, Callable[[], float]] = {}
    for path in sorted(root.glob("sys/bus/i2c/drivers/ina3221x/*/iio[:_]device*/rail_name_*")):
        power = path.with_name(f"in_power{path.name.rsplit('_', 1)[1]}_input")
        if power.exists():
            rails[_read_text(path)] = _milliwatts(power)
    return _of_rails("ina3221", rails)


def _milliwatts(path: Path) -> Callable[[], float]:
    return lambda: float(_read_text(path)) / 1e3


def _ina3221_hwmon(root: Path) -> list[Sensor]:
    """JetPack 5 and 6: `in<n>_label`, `in<n>_input` in millivolts, `curr<n>_input` in milliamperes."""
    rails: dict[str, Callable[[], float]] = {}
    for path in sorted(root.glob("sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*/in*_label")):
        number = re.sub(r"\D", "", path.name)
        volts, amperes = (path.with_name(f"{n}{number}_input") for n in ("in", "curr"))
        if volts.exists() and amperes.exists():
            rails[_read_text(path)] = _product(volts, amperes)
    return _of_rails("ina3221", rails)


def _product(volts: Path, amperes: Path) -> Callable[[], float]:
    return lambda: float(_read_text(volts)) * float(_read_text(amperes)) / 1e6


def _of_rails(kind: str, rails: dict[str, Callable[[], float]]) -> list[Sensor]:
    """Return a sensor for each rail, that of the whole module first."""
    order = sorted(rails, key=lambda name: (name not in _TOTAL_RAILS, name))
    return [
        Sensor(
            f"{kind}:{name}",
            f"{name} rail, the whole module" if name in _TOTAL_RAILS else f"{name} rail only",
            rails[name],
        )
        for name in order
    ]


def parse_tegrastats(line: str) -> dict[str, float]:
    """Return the watts of each rail in a line of `tegrastats`: `VDD_IN 2532/2532` or `VDD_IN 5036mW/5036mW`."""
    found = re.findall(r"\b([A-Z][A-Z0-9_]*) (\d+)(?:mW)?/\d+(?:mW)?(?=\s|$)", line)
    # RAM and SWAP have the same form, with a unit behind: `RAM 1892/7846MB`.
    return {name: int(milliwatts) / 1e3 for name, milliwatts in found if name not in ("RAM", "SWAP", "IRAM")}


def _tegrastats() -> list[Sensor]:
    program = shutil.which("tegrastats")
    if program is None:
        return []
    process = subprocess.Popen(
        [program, "--interval", "50"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, universal_newlines=True
    )
    latest: dict[str, float] = {}

    def follow() -> None:
        for line in _lines(process):
            latest.update(parse_tegrastats(line))
        latest.clear()

    first = process.stdout.readline() if process.stdout else ""
    latest.update(parse_tegrastats(first))
    names = list(latest)
    threading.Thread(target=follow, daemon=True).start()

    def reader(name: str) -> Callable[[], float]:
        def read() -> float:
            if name not in latest:
                raise SensorError("tegrastats ended")
            return latest[name]

        return read

    sensors = _of_rails("tegrastats", {name: reader(name) for name in names})
    for sensor in sensors:
        sensor.interval_s = 0.05
        sensor.close = lambda: _end(process)
    return sensors


def parse_pmic(text: str) -> dict[str, float]:
    """Return the watts of each rail that `vcgencmd pmic_read_adc` gives a current and a voltage for."""
    amperes = dict(re.findall(r"(\w+)_A current\(\d+\)=([\d.]+)A", text))
    volts = dict(re.findall(r"(\w+)_V volt\(\d+\)=([\d.]+)V", text))
    return {name: float(amperes[name]) * float(volts[name]) for name in amperes if name in volts}


def _pmic() -> list[Sensor]:
    """Raspberry Pi 5: the rails behind its power controller, not what the USB ports and the controller itself take."""
    program = shutil.which("vcgencmd")
    if program is None:
        return []

    def rails() -> dict[str, float]:
        command = [str(program), "pmic_read_adc"]
        text = subprocess.run(command, stdout=subprocess.PIPE, timeout=_TIMEOUT_S, check=True).stdout.decode()
        return parse_pmic(text)

    try:
        names = rails()
    except (OSError, subprocess.SubprocessError):
        return []  # an earlier Raspberry Pi, which has no such controller
    if not names:
        return []

    def core() -> float:
        return rails()["VDD_CORE"]

    everything = Sensor(
        "pmic", f"all {len(names)} rails of the power controller, without USB", lambda: sum(rails().values())
    )
    return [everything] + ([Sensor("pmic:VDD_CORE", "VDD_CORE rail only", core)] if "VDD_CORE" in names else [])


def _rapl(root: Path) -> list[Sensor]:
    """Intel's and AMD's energy counters in `powercap`."""
    sensors = []
    for folder in sorted(root.glob("sys/class/powercap/intel-rapl:*")):
        try:
            name = _read_text(folder / "name")
            counter = folder / "energy_uj"
            _microjoules(counter)()
            wraps_at = float(_read_text(folder / "max_energy_range_uj")) / 1e6
        except (OSError, ValueError):
            continue  # readable by root only
        part = "processor package" if name.startswith("package") else name
        sensors.append(
            Sensor(
                f"rapl:{name}",
                f"{part}, by the processor's own estimate",
                _microjoules(counter),
                is_counter=True,
                wraps_at=wraps_at,
            )
        )
    return sorted(sensors, key=lambda sensor: (not sensor.name.startswith("rapl:p"), sensor.name))


def _microjoules(path: Path) -> Callable[[], float]:
    return lambda: float(_read_text(path)) / 1e6
