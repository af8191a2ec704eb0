"""Kinds of values on the command line: scans, algorithms, lengths, regions."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click
import numpy as np
import numpy.typing as npt

from livestem._errors import SpecError
from livestem._nav_shape import NavShape, check_lengths
from livestem._spec import AlgorithmSpec

_LENGTH = re.compile(r"\s*([0-9.]+(?:[eE][+-]?[0-9]+)?)\s*([^\d\s].*?)\s*")


class ScanShape(click.ParamType):  # type: ignore[type-arg]
    """``128x128`` (rows × columns), ``1000`` (a line), ``-1x128`` (rows from the number of frames)."""

    name = "ROWSxCOLUMNS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> NavShape:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        try:
            lengths = [int(word) for word in re.split(r"[x×,*]", str(value).strip().lower())]
        except ValueError:
            self.fail(f"{value!r} is not a scan; write ROWSxCOLUMNS, e.g. 128x128", param, ctx)
        try:
            return check_lengths(lengths)
        except ValueError:
            self.fail(
                f"{value!r} has no positions; every axis needs at least 1 (−1: from the number of frames)",
                param,
                ctx,
            )


class Algorithm(click.ParamType):  # type: ignore[type-arg]
    """``[LABEL=]NAME[:KEY=VALUE,…]``."""

    name = "SPEC"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AlgorithmSpec:
        """Read the text."""
        if isinstance(value, AlgorithmSpec):
            return value
        try:
            return AlgorithmSpec.parse(str(value))
        except SpecError as error:
            self.fail(str(error), param, ctx)


class Length(click.ParamType):  # type: ignore[type-arg]
    """A number with its unit, e.g. ``0.2nm`` or ``1.5 mrad``."""

    name = "LENGTH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, str]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        match = _LENGTH.fullmatch(str(value))
        try:
            number = float(match[1]) if match else 0.0
        except ValueError:
            number = 0.0
        if match is None or not 0 < number < float("inf"):
            self.fail(f"{value!r} is not a length above 0 with its unit; write e.g. 0.2nm", param, ctx)
        return number, match[2]


class Region(click.ParamType):  # type: ignore[type-arg]
    """``Y0:Y1,X0:X1`` in scan positions, or an .npy file with a boolean map."""

    name = "REGION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Check that the text can be a region."""
        text = str(value)
        if not text.endswith(".npy") and not re.fullmatch(r"\s*-?\d*:-?\d*\s*(,\s*-?\d*:-?\d*\s*)*", text):
            self.fail(f"{text!r} is neither Y0:Y1,X0:X1 nor an .npy file", param, ctx)
        return text


class Setting(click.ParamType):  # type: ignore[type-arg]
    """``NAME=VALUE`` with a Python literal or a word as value."""

    name = "NAME=VALUE"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, Any]:
        """Read the text."""
        if isinstance(value, tuple):
            return value
        try:
            settings = AlgorithmSpec.parse(f"settings:{value}").parameters
        except SpecError:
            settings = {}
        if len(settings) != 1:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return next(iter(settings.items()))


def read_region(text: str, nav_shape: NavShape, pass_shape: NavShape | None = None) -> npt.NDArray[np.bool_]:
    """Turn a `Region` into a map of the positions to process.

    Parameters
    ----------
    text
        As typed.
    nav_shape
        Shape of the scan.
    pass_shape
        Of one of its passes, which the region may have too: then it holds for each.

    Raises
    ------
    ValueError
        If it does not fit the scan, or selects nothing.
    """
    shape = nav_shape
    if text.endswith(".npy"):
        region = np.load(Path(text), allow_pickle=False).astype(bool)
        if region.shape not in (nav_shape, pass_shape):
            raise ValueError(f"the region in {text} has shape {region.shape}, but the scan is {nav_shape}")
    else:
        parts = [
            slice(*(int(word) if word.strip() else None for word in part.split(":")))
            for part in text.split(",")
        ]
        if pass_shape is not None and len(parts) == len(pass_shape):
            shape = pass_shape
        if len(parts) != len(shape):
            raise ValueError(f"the region {text} has {len(parts)} axes, but the scan has {len(nav_shape)}")
        region = np.zeros(shape, dtype=bool)
        region[tuple(parts)] = True
    if not region.any():
        raise ValueError(f"the region {text} selects no position of a {nav_shape} scan")
    return np.array(np.broadcast_to(region, nav_shape), dtype=np.bool_)
