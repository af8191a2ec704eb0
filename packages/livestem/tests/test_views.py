"""Pictures, checked by their pixels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from livestem.views import (
    Calibration,
    Channel,
    FieldView,
    FrameView,
    MapView,
    Picture,
    ProfileView,
    SignedView,
    choose_view,
    contact_sheet,
    direction_colours,
    draw,
    installed_views,
    nice_length,
    open_view,
    robust_span,
    symmetric_span,
    wheel,
)

GREY = (0x8C, 0xB9)  # hatching and its ground


def ramp(shape: tuple[int, int] = (12, 16)) -> npt.NDArray[np.float64]:
    return np.arange(np.prod(shape), dtype=float).reshape(shape)


def at(picture: Picture, y: int, x: int) -> npt.NDArray[np.uint8]:
    """Return the pixels that show one data position."""
    left, top, _, _ = picture.image_box
    zoom = int(picture.zoom)
    return picture.pixels()[
        top + y * zoom : top + (y + 1) * zoom, left + x * zoom : left + (x + 1) * zoom, :3
    ]


def centre(picture: Picture, y: int, x: int) -> tuple[int, int, int]:
    block = at(picture, y, x)
    red, green, blue = (int(value) for value in block[block.shape[0] // 2, block.shape[1] // 2])
    return red, green, blue


def test_each_position_is_a_square_of_whole_screen_pixels() -> None:
    picture = MapView().draw(Channel("intensity", ramp((12, 16))))

    left, top, right, bottom = picture.image_box

    assert picture.zoom == 30
    assert (bottom - top, right - left) == (12 * 30, 16 * 30)
    inside = at(picture, 3, 8)[2:-2, 2:-2]
    assert (inside == inside[0, 0]).all()


def test_map_is_dark_where_low_and_bright_where_high() -> None:
    picture = MapView().draw(Channel("intensity", ramp()))

    assert sum(centre(picture, 0, 2)) < 60
    assert sum(centre(picture, 5, 8)) == pytest.approx(3 * 127, abs=60)
    assert sum(centre(picture, 11, 14)) > 3 * 240


def test_positions_without_data_are_hatched_grey_and_counted() -> None:
    valid = np.ones((12, 16), dtype=bool)
    valid[0:4, 6:] = False

    picture = MapView().draw(Channel("intensity", ramp(), valid=valid))
    missing, seen = at(picture, 1, 9), at(picture, 5, 9)

    assert {int(value) for value in (missing.min(), missing.max())} <= set(range(GREY[0] - 20, GREY[1] + 1))
    assert missing.std() > 3, "no hatching"
    assert seen[2:-2, 2:-2].std() == 0
    text = picture.figure.texts[1].get_text()
    assert "40 of 192 positions without data (21 %)" in text


def test_values_that_are_not_finite_count_as_missing() -> None:
    data = ramp()
    data[2, 3], data[2, 4] = np.nan, np.inf

    picture = MapView().draw(Channel("intensity", data))

    for x in (3, 4):
        assert GREY[0] - 20 <= at(picture, 2, x).min() <= at(picture, 2, x).max() <= GREY[1]


def test_missing_values_do_not_shift_the_scale() -> None:
    data = ramp()
    whole = MapView().draw(Channel("intensity", data))
    hole = data.copy()
    hole[6, 6] = 1e9
    valid = np.ones(data.shape, dtype=bool)
    valid[6, 6] = False

    holed = MapView().draw(Channel("intensity", hole, valid=valid))

    assert np.abs(np.subtract(centre(whole, 3, 3), centre(holed, 3, 3))).max() <= 2


def test_signed_view_is_white_at_zero_blue_below_red_above() -> None:
    data = np.zeros((8, 8))
    data[1], data[2] = -1.0, 1.0

    picture = SignedView().draw(Channel("divergence", data))
    zero, below, above = (centre(picture, y, 6) for y in (4, 1, 2))

    assert min(zero) > 240
    assert below[2] > below[0] + 40
    assert above[0] > above[2] + 40


def test_frame_view_shows_weak_scattering_beside_the_direct_beam() -> None:
    frame = np.full((32, 32), 3.0)
    frame[16, 16] = 1e6
    frame[4, 4] = 300.0

    picture = FrameView().draw(Channel("intensity", frame, kind="sig"))

    assert sum(centre(picture, 16, 16)) > sum(centre(picture, 4, 4)) > sum(centre(picture, 20, 20)) + 60


def test_frame_view_draws_pixels_that_counted_nothing() -> None:
    frame = np.zeros((16, 16))
    frame[8, 8] = 5.0

    picture = FrameView().draw(Channel("intensity", frame, kind="sig"))

    assert sum(centre(picture, 2, 2)) < 30
    assert sum(centre(picture, 8, 8)) > 300


@pytest.mark.parametrize(
    ("vector", "direction"),
    [((0.0, 1.0), "right"), ((-1.0, 0.0), "up"), ((0.0, -1.0), "left"), ((1.0, 0.0), "down")],
)
def test_field_has_the_colour_that_the_legend_wheel_shows_in_that_direction(
    vector: tuple[float, float], direction: str
) -> None:
    field = np.zeros((8, 8, 2))
    field[...] = vector

    picture = FieldView().draw(Channel("field", field, extra_shape=(2,)))
    assert picture.legend_box is not None
    left, top, right, bottom = picture.legend_box
    middle_y, middle_x = (top + bottom) // 2, (left + right) // 2
    rim = {
        "right": (middle_y, right - 4),
        "left": (middle_y, left + 3),
        "up": (top + 3, middle_x),
        "down": (bottom - 4, middle_x),
    }[direction]

    shown = picture.pixels()[rim][:3].astype(int)
    assert np.abs(shown - centre(picture, 3, 3)).max() <= 16


def test_directions_on_screen_have_the_documented_colours() -> None:
    right, up, left, down = (direction_colours(y, x) for y, x in ((0, 1), (-1, 0), (0, -1), (1, 0)))

    assert right.argmax() == 0
    assert up.argmin() == 2
    assert left.argmin() == 0
    assert down.argmax() == 2


def test_no_vector_is_black_and_longer_ones_are_lighter() -> None:
    lengths = np.linspace(0, 1, 12)

    lightness = direction_colours(0.0 * lengths, lengths).sum(axis=-1)

    assert lightness[0] == 0
    assert (np.diff(lightness) > 0).all()


@given(st.floats(0, 2 * np.pi), st.floats(0.05, 1))
def test_the_wheel_is_even_equal_angles_differ_equally_and_all_directions_are_equally_light(
    angle: float, length: float
) -> None:
    def oklab(a: float) -> npt.NDArray[np.float64]:
        return _oklab(direction_colours(-length * np.sin(a), length * np.cos(a)))

    here, there, reference = oklab(angle), oklab(angle + 0.1), oklab(0.0)

    assert here[0] == pytest.approx(reference[0], abs=2e-3)
    assert np.linalg.norm(there - here) == pytest.approx(length * 0.012, rel=0.05)


def _oklab(srgb: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Invert: the published forward transform, independent of the code under test."""
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_lms = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    to_lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.asarray(to_lab @ np.cbrt(to_lms @ linear))


def test_wheel_is_transparent_outside() -> None:
    picture = wheel(64)

    assert picture[0, 0, 3] == 0
    assert picture[32, 32, 3] == 1
    assert picture[32, 60, 3] == 1


def test_views_are_found_by_entry_point_and_chosen_by_what_they_suit() -> None:
    nav = np.ones((4, 4))
    vectors = np.ones((4, 4, 2))

    assert {"map", "signed", "field", "frame", "profile"} <= set(installed_views())
    chosen = {
        name: getattr(choose_view(channel), "name", None)
        for name, channel in {
            "intensity": Channel("intensity", nav),
            "curl": Channel("curl", nav),
            "field": Channel("field", vectors, extra_shape=(2,)),
            "two masks": Channel("intensity", vectors, extra_shape=(2,)),
            "sum": Channel("intensity", nav, kind="sig"),
            "line": Channel("intensity", np.ones(9)),
            "matrix": Channel("regression", np.ones((3, 2)), kind="single", extra_shape=(3, 2)),
        }.items()
    }
    assert chosen == {
        "intensity": "map",
        "curl": "signed",
        "field": "field",
        "two masks": None,
        "sum": "frame",
        "line": "profile",
        "matrix": None,
    }


def test_unknown_view_lists_those_that_exist() -> None:
    with pytest.raises(LookupError, match="signed"):
        open_view("hologram")


def test_what_no_view_suits_says_so() -> None:
    with pytest.raises(ValueError, match="no view can show 'regression'"):
        draw(Channel("regression", np.ones((3, 2)), kind="single", extra_shape=(3, 2)))


def test_axes_and_scale_bar_are_calibrated() -> None:
    calibration = Calibration((0.5, 0.5), "nm")

    picture = MapView().draw(Channel("intensity", ramp((64, 64)), calibration=calibration))
    axes = picture.figure.axes[0]
    labels = [text.get_text() for text in axes.texts]

    assert axes.get_xlabel() == "x [nm]"
    assert labels == ["5 nm"]
    bar = next(patch for patch in axes.patches if patch.get_facecolor()[:3] == (1.0, 1.0, 1.0))
    assert bar.get_width() == 10  # pixels


def test_colour_bar_names_the_unit() -> None:
    picture = MapView().draw(Channel("intensity", ramp(), unit="counts"))

    assert picture.figure.axes[1].get_ylabel() == "counts"


def test_title_names_algorithm_and_result() -> None:
    picture = SignedView().draw(Channel("curl", ramp(), source="com"))

    assert picture.figure.texts[0].get_text() == "com: curl"


@pytest.mark.parametrize("shape", [(1, 1), (1, 200), (3, 1000), (2000, 30), (1500, 1200)])
def test_any_shape_can_be_drawn(shape: tuple[int, int]) -> None:
    pixels = MapView().draw(Channel("intensity", np.random.default_rng(1).random(shape))).pixels()

    assert pixels.ndim == 3
    assert max(pixels.shape) < 1400


@pytest.mark.parametrize("value", [0.0, 7.0, -3.0])
@pytest.mark.parametrize("view", [MapView(), SignedView(), FrameView()])
def test_constant_data_can_be_drawn(view: MapView, value: float) -> None:
    picture = view.draw(Channel("curl", np.full((5, 5), value), kind="sig"))

    assert picture.pixels().size


@pytest.mark.parametrize("view", [MapView(), SignedView(), FrameView(), FieldView(), ProfileView()])
def test_nothing_valid_is_all_hatched(view: MapView) -> None:
    extra = (2,) if isinstance(view, FieldView) else ()
    shape = (6,) if isinstance(view, ProfileView) else (6, 6)
    nothing = np.zeros(shape, dtype=bool)

    picture = view.draw(Channel("field", np.zeros(shape + extra), valid=nothing, extra_shape=extra))

    assert picture.pixels().size
    assert "(100 %)" in picture.figure.texts[1].get_text()


def test_three_scan_axes_are_folded_to_rows() -> None:
    picture = MapView().draw(Channel("intensity", np.arange(60.0).reshape(3, 4, 5)))

    left, top, right, bottom = picture.image_box
    assert (bottom - top) / (right - left) == pytest.approx(12 / 5)


def test_file_is_a_png_that_shows_the_pixels(tmp_path: object) -> None:
    from matplotlib.image import imread

    picture = MapView().draw(Channel("intensity", ramp()))

    path = picture.save(f"{tmp_path}/picture.png")

    read = np.round(imread(path) * 255)[..., :3]
    assert np.array_equal(read, picture.pixels()[..., :3])
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]


def test_contact_sheet_holds_all_pictures() -> None:
    pictures = [MapView().draw(Channel("intensity", ramp())).pixels() for _ in range(4)]
    height, width, _ = pictures[0].shape

    sheet = contact_sheet(pictures, columns=3)

    assert sheet.shape == (2 * height, 3 * width, 4)
    assert np.array_equal(sheet[height:, :width], pictures[3])
    assert (sheet[height:, width:] == 255).all()


def test_span_ignores_a_few_wild_values() -> None:
    values = np.random.default_rng(1).normal(100, 10, 10_000)
    values[:5] = 1e7

    low, high = robust_span(values, np.ones(values.shape, dtype=bool))

    assert 50 < low < 90
    assert 110 < high < 150
    assert symmetric_span(values - 100, np.ones(values.shape, dtype=bool)) < 50


@given(st.floats(1e-6, 1e6))
def test_scale_bar_is_round_and_fits(extent: float) -> None:
    length = nice_length(extent)

    assert 0.05 * extent <= length <= 0.26 * extent
    assert float(f"{length:.0e}"[0]) in (1, 2, 5)


def test_metres_get_a_unit_that_reads_well() -> None:
    assert Calibration.from_metres(0.02e-9).unit == "Å"
    assert Calibration.from_metres(0.2e-9).unit == "nm"
    assert Calibration.from_metres(50e-9).unit == "µm"
    assert Calibration.from_metres((1e-9, 2e-9)).step == (1.0, 2.0)


@pytest.mark.parametrize("step", [0.0, -1.0, float("nan")])
def test_a_distance_has_to_be_above_zero(step: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        Calibration((step, 1.0), "nm")


def test_channel_whose_shapes_contradict_is_refused() -> None:
    with pytest.raises(ValueError, match="extra shape"):
        Channel("field", np.ones((4, 4)), extra_shape=(2,))
    with pytest.raises(ValueError, match="valid"):
        Channel("intensity", np.ones((4, 4)), valid=np.ones((4, 5), dtype=bool))
