"""Live plots: what is shown, when, and what can't be."""

from __future__ import annotations

import sys

import cloudpickle
import numpy as np
import pytest

from udf_core import UDF, Context, Dummy2DPlot, Live2DPlot

cloudpickle.register_pickle_by_value(sys.modules[__name__])


class PicturesUDF(UDF):
    def get_result_buffers(self):
        return {
            "text": self.buffer("nav", dtype="U3"),
            "pair": self.buffer("nav", (2,), dtype="f8"),
            "image": self.buffer("nav", (1,), dtype="f8"),
            "frame": self.buffer("sig", dtype="f8"),
        }

    def process_frame(self, frame):
        self.results.image[:] = frame.sum()
        self.results.frame += frame

    def merge(self, dest, src):
        dest.image[:] = src.image
        dest.frame += src.frame


class LineUDF(UDF):
    def get_result_buffers(self):
        return {"line": self.buffer("single", (5,), dtype="f8")}

    def process_frame(self, frame):
        pass

    def merge(self, dest, src):
        pass


class RememberedPlot(Dummy2DPlot):
    """So that tests find the plots that a context makes."""

    made: list[Dummy2DPlot] = []  # noqa: RUF012

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.made.append(self)
        self.forced: list[bool] = []

    def update(self, damage, force=False):
        super().update(damage, force)
        self.forced.append(force)


@pytest.fixture
def made():
    RememberedPlot.made = []
    return RememberedPlot.made


def plotting(context: Context) -> Context:
    return Context(context.executor, plot_class=RememberedPlot)


def test_all_pictures_are_plotted(context: Context, data, made) -> None:
    with_plots = plotting(context)
    with_plots.run_udf(with_plots.load("memory", data, chunk_items=5), PicturesUDF(), plots=True)
    assert [plot.channel for plot in made] == ["image", "frame"]
    assert [plot.title for plot in made] == ["PicturesUDF: image", "PicturesUDF: frame"]
    assert np.array_equal(made[0].data, data.sum(axis=(2, 3)))
    assert np.array_equal(made[1].data, data.sum(axis=(0, 1)))
    for plot in made:
        assert plot.displayed
        assert plot.forced[-1]  # the last state is shown in any case
        assert plot.damage.all()


def test_plots_follow_after_the_consumer(inline: Context, data, paced, made) -> None:
    feed, dataset = paced(data)
    with_plots = plotting(inline)
    results = with_plots.run_udf_iter(dataset, PicturesUDF(), plots=[["image"]])
    feed.push(0, 5)
    next(results)
    (plot,) = made
    assert plot.n_updates == 0
    feed.push(5, 30)
    feed.end()
    next(results)
    assert plot.n_updates == 1
    assert list(results) == []
    assert plot.forced == [False, True]
    assert np.array_equal(plot.data, data.sum(axis=(2, 3)))


def test_channels_by_name_by_function_and_of_several_udfs(inline: Context, data, made) -> None:
    def shown(results, damage):
        return results["pair"].data[..., 0] + 1, damage.data

    with_plots = plotting(inline)
    with_plots.run_udf(
        with_plots.load("memory", data),
        [PicturesUDF(), LineUDF(), PicturesUDF()],
        plots=[["image", ("frame", np.sqrt)], [], [shown]],
    )
    assert [plot.title for plot in made] == [
        "PicturesUDF: image",
        "PicturesUDF: frame (sqrt)",
        "PicturesUDF: shown",
    ]
    assert np.array_equal(made[1].data, np.sqrt(data.sum(axis=(0, 1))))
    assert np.all(made[2].data == 1)


def test_plot_objects_may_be_given(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    udf = PicturesUDF()
    plot = Dummy2DPlot(dataset, udf)
    assert plot.channel == "image"
    inline.run_udf(dataset, [LineUDF(), udf], plots=[plot])
    assert plot.get_udf() is udf
    assert np.array_equal(plot.data, data.sum(axis=(2, 3)))
    with pytest.raises(ValueError, match="not in this run"):
        inline.run_udf(dataset, PicturesUDF(), plots=[plot])


def test_min_delta_limits_updates(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    plot = Dummy2DPlot(dataset, PicturesUDF(), min_delta=1e9)
    result = inline.run_udf(dataset, plot.get_udf())
    damage = inline.last_run.results.damage
    for force, n in ((False, 1), (False, 1), (True, 2)):
        plot.new_data(result, damage, force=force)
        assert plot.n_updates == n


def test_what_cannot_be_plotted(inline: Context, data) -> None:
    dataset = inline.load("memory", data)
    with_plots = plotting(inline)
    with pytest.raises(ValueError, match="no result 'nothing' to plot"):
        with_plots.run_udf(dataset, PicturesUDF(), plots=[["nothing"]])
    with pytest.raises(ValueError, match="no picture"):
        with_plots.run_udf(dataset, PicturesUDF(), plots=["pair"])
    with pytest.raises(ValueError, match="channels for 1 UDFs"):
        with_plots.run_udf(dataset, [PicturesUDF(), LineUDF()], plots=[["image"]])
    with pytest.raises(ValueError, match="plot_class"):
        inline.run_udf(dataset, PicturesUDF(), plots=True)
    with pytest.raises(ValueError, match="no result that is a picture"):
        Live2DPlot(dataset, LineUDF())
    with pytest.warns(UserWarning, match="shows nothing"):
        with_plots.run_udf(dataset, LineUDF(), plots=True)


def test_error_in_a_plot_ends_the_run(inline: Context, data) -> None:
    class Broken(Dummy2DPlot):
        def update(self, damage, force=False):
            raise ZeroDivisionError

    dataset = inline.load("memory", data)
    udf = PicturesUDF()
    with pytest.raises(ZeroDivisionError):
        inline.run_udf(dataset, udf, plots=[Broken(dataset, udf)])
    assert inline.last_run._closed
