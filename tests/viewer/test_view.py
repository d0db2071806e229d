"""`regard.view`: its arguments, the tokens of each axis, saving and display."""

from pathlib import Path

import numpy as np
import pytest

import regard
from regard import layers, view
from regard.errors import ArgumentError, ShapeError
from regard.viewer import Grid
from tests.viewer.examples import TAGS, TOKENS, named_view, weights


def _axes(shown: regard.viewer.View) -> list[tuple[str, int, int]]:
    manifest = shown.source.manifest()
    return [(m["name"], m["queries"]["axis"], m["keys"]["axis"]) for m in manifest["maps"]]


def test_encoder_decoder_has_two_texts() -> None:
    """Of a Transformer's weights the encoder and cross-attention's keys run along the source, the rest not."""
    import torch

    model = layers.Transformer(16, 2, num_encoder_layers=1, num_decoder_layers=1, ffn_dim=32)
    for target in (4, 6):  # also where both texts are of one length
        _, found = model(torch.randn(1, 6, 16), torch.randn(1, target, 16), need_weights=True)
        shown = view(found, tokens=list("abcdef")[:target], key_tokens=list("uvwxyz"))
        texts = [axis.texts() for axis in shown.source.shown.axes]
        sides = {name: (texts[q][0], texts[k][0]) for name, q, k in _axes(shown)}
        assert sides == {
            "encoder.layers.0.self_attention": ("u", "u"),
            "decoder.layers.0.self_attention": ("a", "a"),
            "decoder.layers.0.cross_attention": ("a", "u"),
        }


def test_batches_have_their_own_tokens() -> None:
    """Each input of a batch is a map with its own axis; one list for all is refused."""
    import torch

    q = torch.randn(2, 1, 3, 4)
    _, found = regard.attention(q, q, q, need_weights=True)
    shown = view(found, tokens=[["a", "b", "c"], ["d", "e", "f"]])
    assert [axis.texts()[0] for axis in shown.source.shown.axes] == ["a", "d"]
    assert _axes(shown) == [("attention", 0, 0), ("attention", 1, 1)]
    with pytest.raises(ShapeError, match="one list, the batch has 2"):
        view(found, tokens=["a", "b", "c"])
    with pytest.raises(ShapeError, match="1 inputs"):
        view(found, tokens=[["a", "b", "c"]])


def test_a_cache_leaves_the_last_queries() -> None:
    """With fewer queries than keys of one text the queries are its last tokens."""
    shown = view(weights(1, 1, keys=5, causal=True), tokens=list("abcde"))
    assert shown.source.manifest()["maps"][0]["queries"] == {"axis": 0, "first": 4, "size": 1}


def test_cross_attention_without_tokens_has_two_axes() -> None:
    """Where nothing says that the keys are the queries' own past, they are another text."""
    manifest = view(weights(1, 4, keys=9)).source.manifest()
    assert [axis["size"] for axis in manifest["axes"]] == [4, 9]
    assert manifest["maps"][0]["kind"] == "cross"
    named = view(weights(1, 4, keys=9), tokens=list("abcd")).source.shown
    assert [axis.tokens is not None for axis in named.axes] == [True, False]


def test_image_grids(tmp_path: Path) -> None:
    """Patches stand on their grid with the image, behind a class token, and in cross-attention from text."""
    image = np.arange(4 * 6 * 3, dtype=np.uint8).reshape(4, 6, 3)
    grid = Grid(2, 3, first=1, image=image)
    shown = view(weights(1, 7), grid=grid)
    assert shown.source.manifest()["axes"][0]["grid"] == {"first": 1, "rows": 2, "columns": 3, "image": "image/png"}
    png = shown.source.block("image/0")
    assert png is not None
    file = tmp_path / "a.png"
    file.write_bytes(png)
    from matplotlib.image import imread

    assert np.array_equal((imread(file) * 255).round().astype(np.uint8), image)
    across = view(weights(1, 3, keys=6), tokens=list("abc"), key_grid=Grid(2, 3, image=file)).source
    assert [axis["grid"] is not None for axis in across.manifest()["axes"]] == [False, True]
    assert across.block("image/1") == png
    with pytest.raises(ShapeError, match="ends at token 7, the sequence has 6"):
        view(weights(1, 6), tokens=list("abcdef"), grid=grid)
    with pytest.raises(ShapeError, match="ends at token 7, the sequence has 6"):
        view(weights(1, 6), grid=grid)
    with pytest.raises(ArgumentError, match="no PNG, JPEG"):
        Grid(1, 1, image=b"<svg onload='alert(1)'/>")
    with pytest.raises(ArgumentError, match="cannot be read"):
        Grid(1, 1, image=tmp_path / "none.png")
    with pytest.raises(ShapeError, match="uint8"):
        Grid(1, 1, image=np.zeros((2, 2)))
    with pytest.raises(ArgumentError, match="whole number >= 1"):
        Grid(0, 1)


def test_models_beside_each_other() -> None:
    """A mapping of mappings compares models: each map knows its model."""
    shown = view({"a": {"x": weights(1, 3)}, "b": {"x": weights(1, 3)}}, tokens=list("abc"))
    assert [(m["model"], m["name"]) for m in shown.source.manifest()["maps"]] == [("a", "x"), ("b", "x")]


@pytest.mark.parametrize(
    ("given", "arguments", "words"),
    [
        ("text", {}, "weights is 'abc', which cannot be viewed"),
        ("scores", {}, "after the softmax"),
        ("number", {}, r"weights\['x'\] is 3"),
        ("empty", {}, "mapping is empty"),
        ("weights", {"tokens": ["a"]}, "has 1 entries"),
        ("weights", {"tokens": "abc"}, "one string"),
        ("weights", {"tokens": list("abc"), "labels": ["x"]}, "has 1 entries"),
        ("weights", {"tokens": list("abc"), "words": [1]}, "words has 1"),
        ("nothing", {}, "nothing to draw"),
    ],
)
def test_bad_arguments(given: str, arguments: dict[str, object], words: str) -> None:
    """What cannot be viewed is refused with what to do."""
    import torch

    things = {
        "text": "abc",
        "scores": -torch.ones(3, 3),
        "number": {"x": 3},
        "empty": {},
        "weights": weights(1, 3),
        "nothing": weights(1, 0),
    }
    with pytest.raises((ArgumentError, ShapeError), match=words):
        view(things[given], **arguments)  # type: ignore[arg-type]


def test_stored_matrices_are_looked_at_in_the_same_way() -> None:
    """A tensor of another library: same numbers, zeros are zeros, and nothing is said of masks or values."""
    import torch

    matrix = torch.softmax(torch.randn(1, 2, 4, 4), -1)
    matrix[0, 1, 2, 3] = 0.0
    for given in (matrix, matrix.numpy(), {"layer": matrix}):
        source = view(given).source
        tile = np.frombuffer(source.block("tile/0/1/mass/0/0/0") or b"", "<f4").reshape(4, 4)
        assert np.allclose(tile, matrix[0, 1].numpy(), rtol=1e-5)
        assert tile[2, 3] == 0
        assert "value" not in source.manifest()["maps"][0]["quantities"]
        assert source.block("tile/0/1/value/0/0/0") is None


def test_figures_of_one_head_and_of_all(tmp_path: Path) -> None:
    """A picture of one head has its tokens; all heads stand side by side; each kind of file is written."""
    shown = named_view()
    one = shown.figure("attention", head=2)
    assert [label.get_text() for label in one.axes[0].get_yticklabels()][:2] == ["The", "animal"]
    assert len([panel for panel in shown.figure().axes if panel.images]) == 4
    for name, start in (("a.png", b"\x89PNG"), ("a.svg", b"<?xml"), ("a.pdf", b"%PDF")):
        assert shown.save(tmp_path / name).read_bytes().startswith(start)
    with pytest.raises(ArgumentError, match="there is no layer 'x'"):
        shown.figure("x")
    with pytest.raises(ArgumentError, match=r"save as \.html"):
        shown.save(tmp_path / "a.gif")
    layered = view({"a": weights(1, 3), "b": weights(1, 3)})
    with pytest.raises(ArgumentError, match="of which layer"):
        layered.figure(head=0)


def test_svg_keeps_text_as_text(tmp_path: Path) -> None:
    """A saved SVG holds the tokens as text, so they can be searched and set anew."""
    shown = view(weights(1, 13), TOKENS, labels=TAGS)
    assert ">animal</text>" in shown.save(tmp_path / "a.svg").read_text("utf-8")


def test_repr_counts() -> None:
    """The one-line description counts maps and heads."""
    assert repr(named_view()).startswith("View(1 map, 4 heads, 13 × 13 tokens)")


def _drawn(figure: object) -> list[str]:
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]  # type: ignore[attr-defined]


def test_pictures_keep_words_and_labels(tmp_path: Path) -> None:
    """All layers, one layer and one head name tokens and labels; `save` takes the same choice."""
    shown = view({"a.0": weights(2, 13), "a.1": weights(2, 13, causal=True)}, TOKENS, labels=TAGS)
    for figure in (shown.figure(), shown.figure("a.1"), shown.figure("a.1", 1)):
        drawn = _drawn(figure)
        assert {"animal", "street", "tired"} <= {word.strip("$") for word in drawn}
        assert {"ANIMAL", "PLACE", "STATE"} <= set(drawn)
    shown.save(tmp_path / "one.svg", "a.1", 1)
    assert "a.1, head 1" in (tmp_path / "one.svg").read_text("utf-8")
    with pytest.raises(ArgumentError, match="a page holds every layer"):
        shown.save(tmp_path / "one.html", head=1)


def test_pictures_say_what_they_leave_out() -> None:
    """More tokens than can be named are counted, other labels and inputs named, in the picture itself."""
    many = [f"w{place}" for place in range(100)]
    tags = {"kind": ["B-A", *["O"] * 99], "role": ["B-R", *["O"] * 99]}
    shown = view(weights(2, 2, 100), [many, many], labels={name: [each, each] for name, each in tags.items()})
    for figure, rule in ((shown.figure(), "up to 64"), (shown.figure(head=0, input=1), "up to 80")):
        text = " ".join(" ".join(_drawn(figure)).split())
        assert f"Tokens are counted (100; {rule} are named)." in text
        assert "Labels drawn: kind; not drawn: role." in text
        assert "of 2" in text
        assert "A" in _drawn(figure)


def test_each_layer_has_its_own_words() -> None:
    """Of an encoder-decoder every row has the words of its own queries and keys."""
    layers_of_two = {"encoder.0": weights(1, 3), "decoder.0.cross": weights(1, 2, keys=3)}
    figure = view(layers_of_two, ["x", "y"], key_tokens=["u", "v", "w"]).figure()
    rows = [[tick.get_text() for tick in panel.get_yticklabels()] for panel in figure.axes if panel.images]
    assert rows[:2] == [["u", "v", "w"], ["x", "y"]]


def test_a_head_of_one_of_two_models_is_saved(tmp_path: Path) -> None:
    """By the model's name, or by the name that pictures give the layer; what names two says which there are."""
    shown = view({"base": {"layer.0": weights(3, 5)}, "tuned": {"layer.0": weights(3, 5, causal=True)}})
    for given in ({"name": "layer.0", "model": "tuned"}, {"name": "tuned: layer.0"}):
        figure = shown.figure(head=1, **given)
        assert "tuned: layer.0, head 1" in _drawn(figure)
        assert shown.save(tmp_path / "a.svg", head=1, **given).stat().st_size > 1000
    with pytest.raises(ArgumentError, match=r"base: layer\.0, tuned: layer\.0"):
        shown.figure("layer.0", 1)
    with pytest.raises(ArgumentError, match="the models are base, tuned"):
        shown.figure(model="other")


def test_saving_shows_how_far_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bar on standard error where it is asked for; nothing where nobody looks."""
    shown = view(weights(2, 40))
    shown.save(tmp_path / "a.html")
    assert capsys.readouterr().err == ""
    shown.save(tmp_path / "a.html", progress=True)
    assert "a.html" in capsys.readouterr().err
