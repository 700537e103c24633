"""Attention maps: orientation, labels and titles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from readmit_spark.insight import attention_pictures
from readmit_spark.insight import explain_page as explain
from readmit_spark.insight.attention_pictures import all_maps, layer_grid, one_map


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """The figures that the test draws."""
    seen: list[Figure] = []

    def keep(figure: Figure) -> bytes:
        figure.draw_without_rendering()  # places the ticks
        seen.append(figure)
        return b""

    monkeypatch.setattr(attention_pictures, "png_bytes", keep)
    return seen


def some_maps(layers: int, heads: int, tokens: int) -> Any:
    """Make maps that are all different and not symmetric; rows sum to 1."""
    raw = np.random.default_rng(0).random((layers, heads, tokens, tokens)) ** 3
    return raw / raw.sum(axis=-1, keepdims=True)


def labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def upright(image: Any, values: Any) -> bool:
    """Whether rows go down and columns to the right, in the order of `values`."""
    left, right, bottom, top = image.get_extent()
    return (
        image.origin == "upper" and left < right and top < bottom
        and np.array_equal(np.ma.filled(image.get_array(), np.nan), values, equal_nan=True)
    )  # fmt: skip


def test_a_map_has_token_labels_and_attending_tokens_as_rows(drawn: list[Figure]) -> None:
    values = some_maps(1, 1, 4)[0, 0]
    tokens = ["[CLS]", "$5", "##ed$", "[SEP]"]
    one_map(values, tokens, title="Layer 3, head 1")
    axes = drawn[0].axes[0]
    assert upright(axes.images[0], values)
    for axis in (axes.xaxis, axes.yaxis):
        assert labels(axis) == ["[CLS]", r"\$5", r"##ed\$", "[SEP]"]
        assert axis.get_ticklocs().tolist() == [0, 1, 2, 3]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("attended to", "attending")
    assert axes.get_title(loc="left") == "Layer 3, head 1"


def test_many_tokens_are_labelled_at_regular_positions(drawn: list[Figure]) -> None:
    tokens = [f"t{n}" for n in range(130)]
    one_map(some_maps(1, 1, 130)[0, 0], tokens, title="any")
    axes = drawn[0].axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        places = axis.get_ticklocs().tolist()
        assert places == list(range(0, 130, 3))
        assert labels(axis) == [tokens[place] for place in places]


def test_without_text_tokens_are_numbers(drawn: list[Figure]) -> None:
    one_map(some_maps(1, 1, 6)[0, 0], None, title="any")
    axes = drawn[0].axes[0]
    for axis in (axes.xaxis, axes.yaxis):
        assert all(name.lstrip("\N{MINUS SIGN}").isdigit() for name in labels(axis))
    assert axes.get_xlabel() == "number of the token attended to"
    assert axes.get_ylabel() == "number of the attending token"


def test_the_heads_of_a_layer_are_in_order_and_named(drawn: list[Figure]) -> None:
    maps = some_maps(1, 6, 5)[0]
    layer_grid(maps)
    axes = drawn[0].axes
    assert [one.get_title() for one in axes] == [*(f"head {n}" for n in range(1, 7)), "", ""]
    for one, values in zip(axes, maps, strict=False):
        assert upright(one.images[0], values)
    assert [one.axison for one in axes] == [True] * 6 + [False] * 2


def test_all_maps_are_tiles_with_layers_down_and_heads_across(drawn: list[Figure]) -> None:
    maps = some_maps(2, 3, 5)
    all_maps(maps)
    axes = drawn[0].axes[0]
    image = axes.images[0]
    whole = image.get_array().filled(np.nan)
    assert upright(image, whole) and whole.shape == (2 * 7, 3 * 7)
    for layer in range(2):
        for head in range(3):
            tile = whole[7 * layer + 1 : 7 * layer + 6, 7 * head + 1 : 7 * head + 6]
            expected = maps[layer, head] / maps[layer, head].max()
            assert tile == pytest.approx(expected)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head", "layer")
    assert (labels(axes.xaxis), labels(axes.yaxis)) == (["1", "2", "3"], ["1", "2"])


def test_the_page_names_the_layer_and_head_that_it_shows(drawn: list[Figure]) -> None:
    maps = some_maps(2, 3, 4).astype(np.float32)
    through = maps.mean(axis=(0, 1)).astype(np.float64)
    captions = list(explain._maps(explain.Attention(maps, through, ["a", "b", "c", "d"])))
    assert captions[0] == "All 6 maps: 2 layers of 3 heads"
    expected = {
        "Layer 2, head 1": maps[1, 0],
        "Layer 2, mean over heads": maps[1].mean(axis=0),
        "Attention rollout": through,
    }
    assert captions[2:] == list(expected)
    for figure, (title, values) in zip(drawn[2:], expected.items(), strict=True):
        assert figure.axes[0].get_title(loc="left") == title
        assert upright(figure.axes[0].images[0], values)
