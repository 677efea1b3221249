"""A picture that is drawn many times a second: what stands still is drawn once, what moves is laid over it."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.artist import Artist

from .picture import DRAW_LOCK, drawing, new_figure

SHARP = 1.5  # pixels of the picture per CSS pixel, so that it stays sharp on a dense screen


class Surface:
    """A figure of fixed size, with a cached background and artists that move over it.

    width, height are in inches of 100 CSS pixels. Make axes and artists inside `drawing()`; name those that move in
    `animate`. `png()` then costs a copy of the background, the moving artists and the encoding: a change is five to
    twenty times cheaper than a new figure. The background is drawn anew only when something in it has changed (limits,
    a title), which matplotlib itself keeps track of: an animated artist never makes its figure stale.
    """

    def __init__(self, width: float = 7.4, height: float = 3.6):
        self.figure = new_figure(width, height, layout=None)
        self.figure.set_dpi(100 * SHARP)
        self.size = round(100 * width), round(100 * height)
        self.moving: list[Artist] = []
        self.backgrounds = 0  # how often it was drawn; a slider must not add to it
        self._background = None

    def animate(self, *artists: Artist) -> None:
        """These artists move; all others stand still. Drawn in the order of their zorder, then of naming."""
        for artist in artists:
            artist.set_animated(True)
        self.moving = sorted([*self.moving, *artists], key=lambda artist: artist.get_zorder())

    def png(self, small: bool = False) -> bytes:
        """The picture as it is now; small: in 255 colours and well compressed, slow, for keeping in a file."""
        from PIL import Image

        with DRAW_LOCK:
            canvas = self.figure.canvas
            if self._background is None or self.figure.stale:
                with drawing():
                    canvas.draw()
                self._background = canvas.copy_from_bbox(self.figure.bbox)
                self.backgrounds += 1
            canvas.restore_region(self._background)
            renderer = canvas.get_renderer()
            for artist in self.moving:
                artist.draw(renderer)
            image = Image.fromarray(np.ascontiguousarray(np.asarray(canvas.buffer_rgba())[..., :3]))
        buffer = io.BytesIO()
        if small:
            image.quantize(255, dither=Image.Dither.NONE).save(buffer, "png", optimize=True)
        else:
            image.save(buffer, "png", compress_level=1)
        return buffer.getvalue()
