"""Pictures of results: numbers in, PNG out.

A `Channel` is one result with what a picture needs; `draw` finds the view that suits it.  Views come
from the entry-point group ``livestem.views``, so a package can bring its own.  Every view shows
positions without data as such, spans robustly, and says what one pixel and one colour mean.
"""

from ._channel import Calibration, Channel, Kind
from ._colour import direction_colours, wheel
from ._field import FieldView
from ._intensity import FrameView, MapView, ProfileView, SignedView
from ._panel import Picture, encode_png, write_whole
from ._registry import View, choose_view, contact_sheet, draw, installed_views, open_view
from ._scaling import nice_length, robust_span, symmetric_span
from ._units import usual_unit

__all__ = [
    "Calibration",
    "Channel",
    "FieldView",
    "FrameView",
    "Kind",
    "MapView",
    "Picture",
    "ProfileView",
    "SignedView",
    "View",
    "choose_view",
    "contact_sheet",
    "direction_colours",
    "draw",
    "encode_png",
    "installed_views",
    "nice_length",
    "open_view",
    "robust_span",
    "symmetric_span",
    "usual_unit",
    "wheel",
    "write_whole",
]
