"""A picture that is drawn many times a second: what stands still is drawn once, what moves is laid over it."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from PIL import Image

from .picture import DRAW_LOCK, SHARP, drawing, new_figure, small_png

KEPT = 12  # backgrounds, of 3 to 5 MB


class Surface:
    """A figure of fixed size, with a cached background and artists that move over it.

    width, height are in inches of 100 CSS pixels. Make axes and artists inside `drawing()`; name those that move in
    `animate`. `png()` then costs a copy of the background, the moving artists and the encoding: a change is five to
    twenty times cheaper than a new figure. The background is drawn anew only when something in it has changed (a title,
    say), which matplotlib itself keeps track of: an animated artist never makes its figure stale. Limits that `limit`
    moves, and axes that `show` shows or hides, have a background each, of which the last `KEPT` are kept: a slider that
    goes to and fro finds them again.
    """

    def __init__(self, width: float = 7.4, height: float = 3.6):
        self.figure = new_figure(width, height, layout=None)
        self.figure.set_dpi(100 * SHARP)
        self.size = round(100 * width), round(100 * height)
        self.moving: list[Artist] = []
        self.backgrounds = 0  # how often one was drawn; a slider must not add to it
        self._kept: dict[tuple, Any] = {}  # backgrounds by what is seen of all axes, and their limits

    def animate(self, *artists: Artist) -> None:
        """These artists move; all others stand still. Drawn in the order of their zorder, then of naming."""
        for artist in artists:
            artist.set_animated(True)
        self.moving = sorted([*self.moving, *artists], key=lambda artist: artist.get_zorder())

    def pixels(self) -> np.ndarray:
        """The picture as it is now: (height, width, 4) uint8, a copy."""
        with DRAW_LOCK:
            canvas = self.figure.canvas
            if self.figure.stale:
                self._kept.clear()
            limits = tuple((ax.get_visible(), *ax.get_xlim(), *ax.get_ylim()) for ax in self.figure.axes)
            if limits not in self._kept:
                with drawing():
                    canvas.draw()
                self._kept[limits] = canvas.copy_from_bbox(self.figure.bbox)
                self.backgrounds += 1
                if len(self._kept) > KEPT:
                    del self._kept[next(iter(self._kept))]
            canvas.restore_region(self._kept[limits])
            renderer = canvas.get_renderer()
            for artist in self.moving:
                artist.draw(renderer)
            return np.array(canvas.buffer_rgba())

    def png(self, small: bool = False, ratio: float | None = None) -> bytes:
        """The picture as PNG; small: in 255 colours and well compressed, slow, for keeping in a file.

        ratio: with this many pixels for each CSS pixel, this time.
        """
        with DRAW_LOCK:
            before = self.figure.dpi / 100
            if ratio is not None:
                self.resolve(ratio)
            pixels = self.pixels()
            if ratio is not None:
                self.resolve(before)
        return small_png(Image.fromarray(pixels)) if small else fast_png(pixels)

    def resolve(self, ratio: float) -> None:
        """Draw with this many pixels for each CSS pixel from now on."""
        with DRAW_LOCK:
            self.figure.set_dpi(100 * ratio)
            self._kept.clear()

    def limit(self, ax: Axes, ends: tuple[float, float]) -> None:
        """Move the limits of an axes in y, and nothing else in it."""
        if ax.get_ylim() != ends:
            stale = self.figure.stale
            ax.set_ylim(ends)
            self.figure.stale = stale

    def show(self, ax: Axes, shown: bool) -> None:
        """Show or hide an axes, but for what moves in it."""
        if ax.get_visible() != shown:
            stale = self.figure.stale
            ax.set_visible(shown)
            self.figure.stale = stale


class Pixels(AxesImage):
    """An image (h, w, 3 or 4) uint8 in an axes, each pixel a rectangle, for pictures that move: drawn by looking up the
    nearest pixel, which takes a tenth of the time of `imshow`, whose resampling serves colour maps and smooth images.
    """

    def __init__(self, ax: Axes, pixels: np.ndarray, extent: tuple[float, ...], **look: Any):
        super().__init__(ax, extent=extent, interpolation="nearest", **look)
        self.set_data(pixels)
        self.set_clip_path(ax.patch)
        ax.add_image(self)

    def draw(self, renderer: Any) -> None:
        """Lay the pixels, as many times as they are large on the page, over what is drawn."""
        left, right, bottom, top = self.get_extent()
        (x0, y0), (x1, y1) = np.rint(self.axes.transData.transform([(left, bottom), (right, top)])).astype(int)
        if not self.get_visible() or x0 == x1 or y0 == y1:
            return
        h, w = self._A.shape[:2]
        rows = (np.arange(abs(y1 - y0)) + 0.5) * h / abs(y1 - y0)
        columns = (np.arange(abs(x1 - x0)) + 0.5) * w / abs(x1 - x0)
        colours = np.full((h, w, 4), 255, np.uint8)
        colours[..., : self._A.shape[2]] = self._A
        if (self.origin == "upper") == (y1 > y0):  # Agg takes the lowest row first
            rows = rows[::-1]
        large = colours.view(np.uint32)[..., 0][rows.astype(int)[:, None], columns.astype(int)]
        gc = renderer.new_gc()
        self._set_gc_clip(gc)
        renderer.draw_image(gc, min(x0, x1), min(y0, y1), large[..., None].view(np.uint8))
        gc.restore()
        self.stale = False


def fast_png(pixels: np.ndarray) -> bytes:
    """Pixels (height, width, 4) uint8 as PNG, rows unfiltered: a third of the time of Pillow, which tries filters."""
    height, width = pixels.shape[:2]
    rows = np.zeros((height, 1 + 4 * width), np.uint8)  # each row begins with its filter: 0, none
    rows[:, 1:] = pixels.reshape(height, 4 * width)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 6, 0, 0, 0)  # 8 bits, RGBA
    body = zlib.compress(rows, 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")
