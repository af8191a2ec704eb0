"""What an acquisition asks of whom, in which order, and what it makes of the answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from arraystream import StateError
from livestem import (
    Acquisition,
    AcquisitionTimeout,
    DetermineNavShapeEnv,
    Hooks,
    LiveContext,
    ReadyForDataEnv,
    ShapeMismatch,
)
from udf_core import Scan, StreamDataset


def frames(n: int, sig: tuple[int, int] = (4, 6)) -> Any:
    return np.arange(n * sig[0] * sig[1], dtype="u2").reshape(n, *sig)


class ShapeHook(Hooks):
    def __init__(self, answer: tuple[int, ...] | None) -> None:
        self.answer = answer
        self.env: DetermineNavShapeEnv | None = None

    def on_determine_nav_shape(self, env: DetermineNavShapeEnv) -> tuple[int, ...] | None:
        self.env = env
        return self.answer


def passive(connection: Any, **wishes: Any) -> Acquisition:
    return Acquisition(connection, pending=connection.wait_for_acquisition(), **wishes)


def test_shape_is_the_callers_if_he_gives_one(fake_connection: Any) -> None:
    hook = ShapeHook((6, 2))

    aq = passive(fake_connection(frames(12), index_shape=(2, 6)), nav_shape=(3, 4), hooks=hook)

    assert aq.nav_shape == (3, 4)
    assert hook.env is None


def test_placeholders_are_filled_from_the_announced_frames(fake_connection: Any) -> None:
    assert passive(fake_connection(frames(12)), nav_shape=(-1, 4)).nav_shape == (3, 4)
    assert passive(fake_connection(frames(16)), nav_shape=(-1, -1)).nav_shape == (4, 4)


def test_shape_is_the_hooks_before_the_detectors(fake_connection: Any) -> None:
    hook = ShapeHook((6, 2))

    aq = passive(fake_connection(frames(12), index_shape=(2, 6)), hooks=hook)

    assert aq.nav_shape == (6, 2)
    assert hook.env == DetermineNavShapeEnv(nimages=12, shape_hint=None)


def test_hook_may_complete_a_hint(fake_connection: Any) -> None:
    hook = ShapeHook((2, 6))

    aq = passive(fake_connection(frames(12)), nav_shape=(-1, -1), hooks=hook)

    assert hook.env == DetermineNavShapeEnv(nimages=12, shape_hint=(-1, -1))
    assert aq.nav_shape == (2, 6)


def test_shape_is_the_controllers_before_the_announced_one(fake_connection: Any) -> None:
    connection = fake_connection(frames(12), index_shape=(2, 6))

    aq = Acquisition(connection, controller=connection.get_active_controller(nav_shape=(4, 3)))

    assert aq.nav_shape == (4, 3)


def test_shape_is_the_one_the_detector_announces(fake_connection: Any) -> None:
    assert passive(fake_connection(frames(12), index_shape=(2, 6))).nav_shape == (2, 6)


def test_shape_is_a_square_if_nobody_knows(fake_connection: Any) -> None:
    assert passive(fake_connection(frames(16))).nav_shape == (4, 4)


def test_shape_that_nobody_knows_is_an_error_that_says_what_to_pass(fake_connection: Any) -> None:
    with pytest.raises(ShapeMismatch, match=r"12 frames; pass nav_shape"):
        passive(fake_connection(frames(12)))
    with pytest.raises(ShapeMismatch, match=r"unknown number of frames; pass nav_shape"):
        passive(fake_connection(frames(12), n_items=None))


def test_shape_that_does_not_fit_is_an_error_that_names_both_before_any_frame(fake_connection: Any) -> None:
    connection = fake_connection(frames(12))

    with pytest.raises(
        ShapeMismatch, match=r"4×4 needs 16 frames, .* announced 12 \(12 = 3×4 or 4×3 or 2×6\)"
    ) as caught:
        passive(connection, nav_shape=(4, 4))

    assert (caught.value.nav_shape, caught.value.n_frames) == ((4, 4), 12)
    assert connection.calls == ["wait_for_acquisition"]


def test_shape_that_no_number_completes_is_an_error(fake_connection: Any) -> None:
    with pytest.raises(ShapeMismatch, match="no whole number"):
        passive(fake_connection(frames(12)), nav_shape=(-1, 5))


@pytest.mark.parametrize("shape", [(0, 5), (-2, 5), ()])
def test_shape_without_positions_is_an_error(fake_connection: Any, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        passive(fake_connection(frames(12)), nav_shape=shape)


def test_endless_acquisition_takes_any_full_shape(fake_connection: Any) -> None:
    assert passive(fake_connection(frames(12), n_items=None), nav_shape=(3, 4)).nav_shape == (3, 4)


def test_scan_wins_and_may_have_an_offset(fake_connection: Any) -> None:
    aq = passive(fake_connection(frames(14)), scan=Scan((3, 4), offset=2))

    assert aq.scan.offset == 2
    assert aq.nav_shape == (3, 4)
    with pytest.raises(ShapeMismatch, match="with an offset of 1 needs 12 frames"):
        passive(fake_connection(frames(20)), scan=Scan((3, 4), offset=1))


def test_acquisition_is_what_the_engine_reads(fake_connection: Any) -> None:
    aq = passive(fake_connection(frames(12)), nav_shape=(3, 4))

    assert isinstance(aq, StreamDataset)
    assert tuple(aq.shape) == (3, 4, 4, 6)
    assert tuple(aq.shape.sig) == (4, 6)
    assert aq.dtype == np.dtype("u2")


def test_passive_acquisition_waits_for_the_next_one(fake_connection: Any) -> None:
    connection = fake_connection(frames(12), frames(12))
    aq = Acquisition(connection, nav_shape=(3, 4))

    for _ in range(2):
        feed = aq.start()
        assert feed.descriptor.item_shape == (4, 6)
        aq.finish(None)

    assert connection.n_begun == 2


def test_waiting_in_vain_is_an_error(fake_connection: Any) -> None:
    aq = Acquisition(fake_connection(), nav_shape=(3, 4), timeout=0.5)

    with pytest.raises(AcquisitionTimeout, match=r"within 0.5 s"):
        aq.start()


def test_given_acquisition_can_be_read_once(fake_connection: Any) -> None:
    aq = passive(fake_connection(frames(12)), nav_shape=(3, 4))
    aq.start()
    aq.finish(None)

    with pytest.raises(StateError, match="has been read"):
        aq.start()


def test_active_mode_arms_then_calls_the_hook_then_waits_for_the_first_frame(fake_connection: Any) -> None:
    connection = fake_connection(frames(12))
    seen: list[tuple[int, ...]] = []

    class Start(Hooks):
        def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
            connection.calls.append("hook")
            seen.append(tuple(env.aq.shape.nav))

    aq = Acquisition(
        connection, nav_shape=(3, 4), controller=connection.get_active_controller(), hooks=Start()
    )
    aq.start()

    assert connection.calls == ["arm 12", "wait_for_acquisition", "hook", "wait_for_first_item", "feed"]
    assert seen == [(3, 4)]


def test_active_mode_asks_for_the_frames_of_scan_flyback_and_offset(fake_connection: Any) -> None:
    connection = fake_connection(frames(17))

    aq = Acquisition(
        connection,
        scan=Scan((3, 4), flyback=1, offset=2),
        controller=connection.get_active_controller(),
    )
    aq.start()

    assert "arm 17" in connection.calls


def test_active_mode_can_run_again(fake_connection: Any) -> None:
    connection = fake_connection(frames(12), frames(12))
    aq = Acquisition(connection, nav_shape=(3, 4), controller=connection.get_active_controller())

    for _ in range(2):
        aq.start()
        aq.finish(None)

    assert connection.calls.count("arm 12") == 2


def test_active_scan_left_early_is_aborted_at_the_detector(fake_connection: Any) -> None:
    connection = fake_connection(frames(12))
    aq = Acquisition(connection, nav_shape=(3, 4), controller=connection.get_active_controller())
    aq.start()

    aq.finish(KeyboardInterrupt())

    assert connection.calls[-2:] == ["controller.abort", "abort"]


def test_passive_scan_left_early_leaves_the_detector_alone(fake_connection: Any) -> None:
    connection = fake_connection(frames(12))
    aq = passive(connection, nav_shape=(3, 4))
    aq.start()

    aq.finish(KeyboardInterrupt())

    assert "abort" not in connection.calls


def test_hook_that_fails_aborts_the_armed_detector(fake_connection: Any) -> None:
    connection = fake_connection(frames(12))

    class Broken(Hooks):
        def on_ready_for_data(self, env: ReadyForDataEnv) -> None:
            raise RuntimeError("scan engine is off")

    aq = Acquisition(
        connection, nav_shape=(3, 4), controller=connection.get_active_controller(), hooks=Broken()
    )

    with pytest.raises(RuntimeError, match="scan engine is off"):
        aq.start()
    assert connection.calls[-2:] == ["controller.abort", "abort"]


def test_active_detector_that_announces_something_else_is_aborted(fake_connection: Any) -> None:
    connection = fake_connection(frames(10))
    aq = Acquisition(connection, nav_shape=(3, 4), controller=connection.get_active_controller())

    with pytest.raises(ShapeMismatch, match="needs 12 frames, but the detector announced 10"):
        aq.start()
    assert "controller.abort" in connection.calls
    assert "feed" not in connection.calls


def test_active_and_passive_at_once_is_refused(fake_connection: Any) -> None:
    connection = fake_connection(frames(12))

    with pytest.raises(ValueError, match="either a controller"):
        passive(connection, nav_shape=(3, 4), controller=connection.get_active_controller())


def test_frames_per_partition_is_accepted_and_checked(fake_connection: Any) -> None:
    assert passive(fake_connection(frames(12)), nav_shape=(3, 4), frames_per_partition=5)
    with pytest.raises(ValueError, match="at least 1"):
        passive(fake_connection(frames(12)), nav_shape=(3, 4), frames_per_partition=0)


def test_shape_is_unknown_before_a_passive_wait(fake_connection: Any) -> None:
    aq = Acquisition(fake_connection(frames(12)))

    with pytest.raises(StateError, match="known once the detector has announced"):
        aq.nav_shape  # noqa: B018
    with pytest.raises(StateError, match="known once the first one has come"):
        aq.descriptor  # noqa: B018


def test_unknown_detector_lists_those_that_exist_and_how_to_get_a_known_one() -> None:
    with LiveContext(executor=None) as ctx:
        with pytest.raises(LookupError, match="installed: "):
            ctx.make_connection("hologram")
        with pytest.raises(LookupError, match=r"ctx.load\('npy'"):
            ctx.make_connection("npy")
