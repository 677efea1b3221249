"""Pad, crop, flip and normalise a whole batch at once, on the device where the images live."""

import torch
from torch import Tensor


def pad_black(images: Tensor, pad: int) -> Tensor:
    """The store that crops are cut from: every image in a black border.

    images (n, H, W, C) uint8; pad in pixels on each side. Returns (n, C, H + 2 pad, W + 2 pad) uint8, contiguous:
    channels first, because a crop then copies whole rows.
    """
    n, height, width, channels = images.shape
    store = images.new_zeros(n, channels, height + 2 * pad, width + 2 * pad)
    store[:, :, pad : pad + height, pad : pad + width] = images.permute(0, 3, 1, 2)
    return store


def draw_crops(n: int, pad: int, flip: bool, generator: torch.Generator, device: torch.device) -> tuple[Tensor, ...]:
    """Row offset, column offset (0 .. 2 pad inclusive) and mirror (bool), each (n,), drawn in this order.

    Nothing but `generator` is drawn from. It draws on its own device, so a CPU generator gives the same crops
    for images on a GPU (one small copy), and a GPU generator never leaves the GPU.
    """

    def draw(high: int) -> Tensor:
        return torch.randint(high, (n,), generator=generator, device=generator.device).to(device, non_blocking=True)

    dy, dx = draw(2 * pad + 1), draw(2 * pad + 1)
    mirror = draw(2).bool() if flip else torch.zeros(n, dtype=torch.bool, device=device)
    return dy, dx, mirror


def crop_flip(store: Tensor, index: Tensor, dy: Tensor, dx: Tensor, mirror: Tensor, pad: int) -> Tensor:
    """The crop at (dy, dx) of each indexed image, mirrored left to right where `mirror`; equal to PIL's, bit for bit.

    out[i, c, y, x] = store[index[i], c, y + dy[i], x + dx[i]]; with mirror, x counts from the right.

    store (m, C, H + 2 pad, W + 2 pad) uint8 from `pad_black`; index, dy, dx (n,) int64; mirror (n,) bool.
    Returns (n, C, H, W) uint8. Shapes are static and nothing is read back to the host.
    """
    height, width = store.shape[2] - 2 * pad, store.shape[3] - 2 * pad
    # A view of every possible window, (m, rows of offset, columns of offset, C, H, W): nothing is copied until indexed.
    windows = store.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)
    crops = windows[index, dy, dx]
    return torch.where(mirror.view(-1, 1, 1, 1), crops.flip(-1), crops)


def normalise(images: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    """x * scale + shift, float32, contiguous: (x / 255 - mean) / std for scale = 1 / (255 std), shift = -mean / std.

    images (n, C, H, W) uint8, or float32, in any memory order; scale, shift (1, C, 1, 1) float32.
    """
    return images.to(torch.float32, memory_format=torch.contiguous_format, copy=True).mul_(scale).add_(shift)
