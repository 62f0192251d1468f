from __future__ import annotations

from collections.abc import Callable

import pytest

from edgekd.errors import InputError
from edgekd.quantities import (
    format_count,
    format_duration_s,
    format_energy_uj,
    format_latency_us,
    format_ratio,
    format_share,
    format_share_difference,
    format_size,
    parse_duration_s,
    parse_energy_uj,
    parse_latency_us,
    parse_size,
)

PARSERS = pytest.mark.parametrize(
    "parse", [parse_size, parse_latency_us, parse_energy_uj, parse_duration_s], ids=lambda it: it.__name__
)


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("250KB", 250 * 1000),
        ("250kb", 250 * 1000),
        ("1.5 MB", 1_500_000),
        ("2GB", 2 * 1000**3),
        ("3KiB", 3 * 1024),
        ("1MiB", 1024 * 1024),
        ("0.5GiB", 1024**3 // 2),
        ("4096", 4096),
        (" 7 B ", 7),
        ("0.29KB", 290),  # 0.29 * 1000 is 289.99... in binary floating point
        (".5KB", 500),
        ("1.0009KB", 1000),  # part of a byte is dropped
    ],
)
def test_a_size_is_read_into_bytes(text: str, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "latency_us"),
    [("850us", 850), ("850\u00b5s", 850), ("850\u03bcs", 850), ("3ms", 3e3), ("2 s", 2e6)],
)
def test_a_time_is_read_into_microseconds(text: str, latency_us: float) -> None:
    assert parse_latency_us(text) == latency_us


@pytest.mark.parametrize(("text", "energy_uj"), [("12uJ", 12), ("10mJ", 10e3), ("1.5J", 1.5e6)])
def test_an_energy_is_read_into_microjoules(text: str, energy_uj: float) -> None:
    assert parse_energy_uj(text) == energy_uj


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("20m", 20 * 60), ("1.5h", 1.5 * 60 * 60)])
def test_a_time_budget_is_read_into_seconds(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@PARSERS
@pytest.mark.parametrize(
    "text",
    [
        "5 apples",
        "-3",
        "-3KB",
        "-3ms",
        "-3mJ",
        "-3m",
        "0",
        "0B",
        "0ms",
        "0.0mJ",
        "0s",
        "nan",
        "inf",
        "",
        " ",
        "KB",
        "ms",
        "1e3KB",
        "1e3ms",
        "1,5KB",
        "1_000",
        "1KB2",
        "0x10",
        "9" * 400,
        "\u0663KB",  # an Arabic digit three
        "3\nms\x1b[31m",
    ],
)
def test_what_is_no_quantity_is_refused_with_the_option_and_an_example(
    parse: Callable[[str, str], float], text: str
) -> None:
    with pytest.raises(InputError) as caught:
        parse(text, "--max-thing")
    assert caught.value.where == "--max-thing"
    assert "above zero" in caught.value.expected
    assert "Write it like" in caught.value.hint
    assert text[:40].replace("\n", "\\n").replace("\x1b", "\\x1b") in caught.value.found
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize(
    ("parse", "text"),
    [(parse_latency_us, "3"), (parse_energy_uj, "3"), (parse_duration_s, "3")],
    ids=lambda it: getattr(it, "__name__", it),
)
def test_only_a_size_may_leave_out_its_unit(parse: Callable[[str], float], text: str) -> None:
    with pytest.raises(InputError):
        parse(text)


def test_a_megajoule_is_not_taken_for_a_millijoule() -> None:
    with pytest.raises(InputError):
        parse_energy_uj("3MJ")


def test_less_than_a_byte_is_no_size() -> None:
    with pytest.raises(InputError):
        parse_size("0.9B")


@pytest.mark.parametrize("example", ["250KB", "3ms", "10mJ", "20m"], ids=["size", "time", "energy", "duration"])
def test_every_example_in_a_message_is_accepted(example: str) -> None:
    parsers = {"250KB": parse_size, "3ms": parse_latency_us, "10mJ": parse_energy_uj, "20m": parse_duration_s}
    with pytest.raises(InputError) as caught:
        parsers[example]("nonsense")
    assert f"Write it like {example}." in caught.value.hint
    assert parsers[example](example) > 0


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (7, "7 B"),
        (999, "999 B"),
        (1000, "1 KB"),
        (216_482, "216 KB"),
        (250_000, "250 KB"),
        (1_234_567, "1.23 MB"),
        (999_600, "1 MB"),  # rounds to 1000 KB, which is the next unit
        (5 * 1000**3, "5 GB"),
        (7 * 1000**4, "7000 GB"),
    ],
)
def test_a_size_is_printed_to_three_digits(size_bytes: int, text: str) -> None:
    assert format_size(size_bytes) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (format_latency_us(850), "850 us"),
        (format_latency_us(2412), "2.41 ms"),
        (format_latency_us(1_300_000), "1.3 s"),
        (format_latency_us(0.25), "0.25 us"),
        (format_energy_uj(8123), "8.12 mJ"),
        (format_energy_uj(2e6), "2 J"),
        (format_count(40_813_184), "40.8 M"),
        (format_count(272_474), "272 k"),
        (format_count(12), "12"),
        (format_duration_s(4.24), "4.2 s"),
        (format_duration_s(59.96), "1 min 00 s"),
        (format_duration_s(200), "3 min 20 s"),
        (format_duration_s(3600 + 5 * 60), "1 h 05 min"),
        (format_share(0.9132), "91.32 %"),
        (format_share(1.0), "100.00 %"),
        (format_share(0.0), "0.00 %"),
        (format_share_difference(0.9132, 0.9153), "-0.21 points"),
        (format_ratio(1, 4), "0.25x"),
        (format_ratio(1, 0), None),
    ],
)
def test_a_quantity_is_printed_in_its_best_unit(text: str | None, expected: str | None) -> None:
    assert text == expected


def test_almost_all_is_not_printed_as_all_nor_almost_none_as_none() -> None:
    assert format_share(0.999_999) == "99.99 %"
    assert format_share(0.000_001) == "0.01 %"


def test_a_difference_is_that_of_the_two_printed_numbers() -> None:
    # 0.91326 prints as 91.33 and 0.91234 as 91.23: 0.10 between them, though the exact difference is 0.092.
    after, before = 0.91326, 0.91234
    assert (format_share(after), format_share(before)) == ("91.33 %", "91.23 %")
    assert format_share_difference(after, before) == "+0.10 points"
