"""The unit of tiles (AMX) with its tiles imitated: the same kernel on any machine, and, on one that has them, the same
bits as the tiles themselves.

Built twice: on AVX-512, where the processor has it, and on plain vectors. The imitation is also what sees where a tile
reads: assembly hides that from every checker of memory.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from . import library
from .gradients import gradients, through
from .reference import forward as exact
from .test_forward import SHAPES, check, inputs, options
from .test_imitated import CHECK, FLAGS, ROOT, checked, need, run

WIDE = "-mavx2 -mfma -mf16c -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512bf16 -mprefer-vector-width=512".split()
HALF = torch.bfloat16


class Built(NamedTuple):
    """A library whose only unit is that of tiles, imitated."""

    path: Path
    wide: bool


def build(folder: Path, *flags: str) -> Path:
    """Compile a library with that unit alone."""
    sources = [ROOT / "csrc" / name for name in ("dispatch.cpp", "threads.cpp", "isa/imitated.cpp")]
    path = folder / f"lib{len(flags)}.so"
    run("g++", *FLAGS, "-ffp-contract=fast", "-DREGARD_BASELINE_ONLY", *flags, "-shared", *sources, "-o", path)
    return path


@pytest.fixture(scope="module", params=[False, True], ids=["plain vectors", "AVX-512"])
def imitated(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build one."""
    need("g++")
    if request.param and "avx512_bf16" not in library.ISAS:
        pytest.skip("needs a processor with AVX-512 and bfloat16")
    return Built(build(tmp_path_factory.mktemp("tiles"), *(WIDE if request.param else [])), request.param)


@pytest.fixture
def tiles(imitated: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the calls of `library` run on the imitation."""
    monkeypatch.setattr(library, "LIB", library.load(imitated.path))
    assert library.LIB.regard_isa() == b"imitated"


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_feature(shape: tuple[int, ...]) -> None:
    """Output and lse of every feature agree with float64."""
    q, k, v = inputs(shape, HALF)
    for choice in options(shape).values():
        check(library.forward(q, k, v, cell=(64, 64), **choice), exact(q, k, v, **choice), HALF)


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("shape", [SHAPES[i] for i in (0, 2, 3, 4, 5)], ids=str)
def test_every_gradient(shape: tuple[int, ...]) -> None:
    """Gradients of every feature are as near to float64 as the naive computation, three times over."""
    q, k, v = inputs(shape, HALF)
    upstream = torch.randn(*q.shape[:3], v.shape[3]).to(HALF)
    for name, choice in options(shape).items():
        found = through(q, k, v, upstream, **choice)
        wanted, naive = (gradients(q, k, v, upstream, **choice, dtype=dtype) for dtype in (torch.float64, HALF))
        for of, gradient in found.items():
            size = wanted[of].norm()
            allowed = max(3 * float((naive[of].double() - wanted[of]).norm() / size), 1e-3)
            assert (gradient.double() - wanted[of]).norm() <= allowed * size, (name, of)


@pytest.mark.usefixtures("tiles")
def test_padding_never_multiplies_what_is_hidden() -> None:
    """Tiles are whole, runs of keys are not: what lies beyond a run, infinite or not, reaches nobody."""
    for s, stop in ((50, 37), (130, 5), (300, 290), (160, 16), (129, 128)):
        q, k, v = inputs((1, 2, 2, 70, s, 40, 24), HALF)
        spans = (torch.zeros(1, 1, 70, dtype=torch.int32), torch.full((1, 1, 70), stop).int())
        clean = library.forward(q, k, v, spans=spans)
        k[:, :, stop:], v[:, :, stop:] = torch.nan, torch.inf
        got = library.forward(q, k, v, spans=spans)
        assert torch.allclose(got[0], clean[0], rtol=1e-2, atol=1e-3)
        assert torch.equal(got[1], clean[1])


def test_every_pass(imitated: Built, tmp_path: Path) -> None:
    """Every pass, feature and dtype; a byte beyond the memory given ends the program."""
    program, path = tmp_path / "check", imitated.path
    run("g++", "-std=c++17", "-O1", "-I", ROOT / "csrc", CHECK, path, f"-Wl,-rpath,{path.parent}", "-o", program)
    words = ["fenced"] if imitated.wide else []  # on plain vectors a product of tiles takes a hundred times as long
    checked(run(program, *words, REGARD_ISA=""), "imitated")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the same with tiles as they are: with other optimisations other sums are contracted."""
    return build(tmp_path_factory.mktemp("real"), *WIDE, "-DREGARD_REAL_TILES")


@pytest.mark.skipif("avx512_amx" not in library.ISAS, reason="this processor has no tiles")
def test_the_tiles_give_the_same_bits(imitated: Built, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imitated and what is not differ in no bit of output, lse, map or gradient, whatever the feature."""
    if not imitated.wide:
        pytest.skip("plain vectors round elsewhere")
    for shape in (*SHAPES[:-1], (1, 2, 1, 333, 700, 96, 64)):
        q, k, v = inputs(shape, HALF)
        upstream = torch.randn(*q.shape[:3], v.shape[3]).to(HALF)
        for name, choice in options(shape).items():
            found = []
            for path in (imitated.path, real):
                monkeypatch.setattr(library, "LIB", library.load(path))
                results = library.forward(q, k, v, cell=(64, 64), **choice)
                found.append([*results, *through(q, k, v, upstream, **choice).values()])
            for same, wanted in zip(*found, strict=True):
                assert torch.equal(same.nan_to_num(7), wanted.nan_to_num(7)), (shape, name)
