"""What holds for every test: one thread, fixed seeds, no network, no trace left behind."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from typing import Any

import hypothesis
import pytest
import torch

from regard.backends.native import _speed
from tests.interpreted import MISSING

# No deadline, so that a slow machine does not fail; in CI always the same examples.
hypothesis.settings.register_profile("regard", deadline=None, derandomize="CI" in os.environ, database=None)
hypothesis.settings.load_profile("regard")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let the conformance tests, and inspection, run on a GPU."""
    parser.addoption("--device", default="cpu", choices=("cpu", "cuda"), help="where the tensors of the cases lie")


def pytest_configure(config: pytest.Config) -> None:
    """Say where the tensors of the cases lie before a test is imported."""
    device = os.environ["REGARD_TEST_DEVICE"] = config.getoption("--device")
    if device == "cpu":
        # Kernels in Triton run in its interpreter; that is decided when they are first imported.
        os.environ.setdefault("TRITON_INTERPRET", "1")
    elif not torch.cuda.is_available():
        raise pytest.UsageError("--device cuda was given, but PyTorch finds no GPU here.")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what asks for Triton's kernels by name on systems that have no Triton."""
    for item in items if MISSING else ():
        parameters = item.callspec.params.values() if hasattr(item, "callspec") else ()
        if "triton" in [one if isinstance(one, str) else getattr(one, "name", None) for one in parameters]:
            item.add_marker(pytest.mark.skip(reason="Triton has no wheels for this system"))


@pytest.fixture(autouse=True)
def _same_start() -> Iterator[None]:
    """Start each test from one seed, one thread and float32, whatever the one before did."""
    torch.manual_seed(0)
    yield
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)


@pytest.fixture(autouse=True, scope="session")
def _same_choice() -> None:
    """Begin with one thread, and let no row that was measured on this machine decide which kernel runs."""
    torch.set_num_threads(1)
    _speed.ROWS = ()
    _speed.forget()


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Refuse connections that would leave this machine."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        inet = self.family in (socket.AF_INET, socket.AF_INET6)
        if inet and not _is_local(address[0]):
            raise OSError(f"tests are offline, and this one connects to {address}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)


def _is_local(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests counted with `record_property`, on parallel workers too."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            terminalreporter.write_line(f"{name}: {value}")
