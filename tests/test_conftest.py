"""The rules that `conftest.py` lays on every test are in force."""

import socket
import threading
import warnings

import pytest
import torch


def test_connections_stay_on_this_machine() -> None:
    """A connection outwards is refused at once; a local one works."""
    with socket.socket() as outside, pytest.raises(OSError, match="tests are offline"):
        outside.connect(("192.0.2.1", 80))
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=lambda: server.accept()[0].close())
        thread.start()
        with socket.create_connection(server.getsockname()) as inside:
            assert inside.recv(1) == b""
        thread.join()


def test_warnings_are_errors() -> None:
    """A warning that nobody expects fails the test that raises it."""
    with pytest.raises(UserWarning, match="unexpected"):
        warnings.warn("unexpected", UserWarning, stacklevel=1)


def test_one_thread_and_one_seed() -> None:
    """Tests share the cores with each other, and draw the same numbers each time."""
    assert torch.get_num_threads() == 1
    assert torch.initial_seed() == 0
