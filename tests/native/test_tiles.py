"""The unit of tiles (AMX) with its tiles imitated: the same kernel on any machine, and, on one that has them, the same
bits as the tiles themselves.

Built twice: on AVX-512, where the processor has it, and on plain vectors. The imitation is also what sees where a tile
reads: assembly hides that from every checker of memory.
"""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from . import library
from .gradients import gradients, through
from .reference import forward as exact
from .reference import pooled
from .test_forward import SHAPES, TOLERANCE, check, inputs, options
from .test_imitated import CHECK, ROOT, checked, run
from .tiles import WIDE, Built, build

FLOATS = (torch.bfloat16, torch.float32, torch.float16)
# The smallest error of a gradient that counts.
LEAST = {torch.bfloat16: 1e-3, torch.float32: 1e-6, torch.float16: 1e-3}
HALF = torch.bfloat16


@pytest.fixture
def tiles(imitated: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the calls of `library` run on the imitation, float32 and float16 by parts."""
    monkeypatch.setattr(library, "LIB", library.load(imitated.path))
    monkeypatch.setattr(library, "PARTS", True)
    assert library.LIB.regard_isa() == b"imitated"


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_feature(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Output, lse and map of every feature agree with float64."""
    q, k, v = inputs(shape, dtype)
    for choice in options(shape).values():
        got, want = library.forward(q, k, v, cell=(64, 64), **choice), exact(q, k, v, **choice)
        check(got, want, dtype)
        assert torch.allclose(got[2].double(), pooled(want[2], 64, 64), atol=TOLERANCE[dtype][1])


@pytest.mark.usefixtures("tiles")
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("shape", [SHAPES[i] for i in (0, 2, 3, 4, 5)], ids=str)
def test_every_gradient(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Gradients of every feature are as near to float64 as the naive computation, three times over."""
    q, k, v = inputs(shape, dtype)
    upstream = torch.randn(*q.shape[:3], v.shape[3]).to(dtype)
    for name, choice in options(shape).items():
        found = through(q, k, v, upstream, **choice)
        wanted, naive = (gradients(q, k, v, upstream, **choice, dtype=of) for of in (torch.float64, dtype))
        for of, gradient in found.items():
            size = wanted[of].norm()
            allowed = max(3 * float((naive[of].double() - wanted[of]).norm() / size), LEAST[dtype])
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
    run("g++", "-std=c++17", "-O2", "-I", ROOT / "csrc", CHECK, path, f"-Wl,-rpath,{path.parent}", "-o", program)
    words = ["fenced"] if imitated.wide else []  # on plain vectors a product of tiles takes a hundred times as long
    for more in ([], ["parts"]):
        checked(run(program, *words, *more, REGARD_ISA=""), "imitated")


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the same with tiles as they are: with other optimisations other sums are contracted."""
    return build(tmp_path_factory.mktemp("real"), *WIDE, "-DREGARD_REAL_TILES")


@pytest.mark.skipif("avx512_amx" not in library.ISAS, reason="this processor has no tiles")
def test_the_tiles_give_the_same_bits(imitated: Built, real: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is imitated and what is not differ in no bit of output, lse, map or gradient, whatever the feature."""
    if not imitated.wide:
        pytest.skip("plain vectors round elsewhere")
    monkeypatch.setattr(library, "PARTS", True)
    for shape, dtype in itertools.product((*SHAPES[:-1], (1, 2, 1, 333, 700, 96, 64)), FLOATS):
        q, k, v = inputs(shape, dtype)
        upstream = torch.randn(*q.shape[:3], v.shape[3]).to(dtype)
        for name, choice in options(shape).items():
            found = []
            for path in (imitated.path, real):
                monkeypatch.setattr(library, "LIB", library.load(path))
                results = library.forward(q, k, v, cell=(64, 64), **choice)
                found.append([*results, *through(q, k, v, upstream, **choice).values()])
            for same, wanted in zip(*found, strict=True):
                assert torch.equal(same.nan_to_num(7), wanted.nan_to_num(7)), (shape, dtype, name)
