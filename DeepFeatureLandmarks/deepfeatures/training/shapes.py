"""Label maps of random 3D shapes: blobs, nested shells, sheets, tubes and folded ribbons. No anatomy."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from deepfeatures.training.noise import Random, smooth_noise

BACKGROUND = 0  # the world around the body; an image may set it to exactly zero, as skull-stripping does
MAX_LABELS = 128


def label_maps(rng: Random, count: int, size: int, objects: int = 32) -> torch.Tensor:
    """Random label maps, drawn on the generator's device.

    A ground of noise regions is painted over with shapes from large to small, so that small structures lie inside large
    ones; most maps are then cut to a body with background around it.

    Returns:
        uint8 labels below `MAX_LABELS`, shape `(count, size, size, size)`.
    """
    canvas = _Canvas(rng, count, size)
    canvas.paint_ground()
    painters = (canvas.paint_blob, canvas.paint_folds, canvas.paint_sheet, canvas.paint_tube, canvas.paint_blob)
    for index in range(objects):
        # Sizes fall from large to small with some disorder.
        scale = size * 0.45 * (0.1 ** ((index + rng.number(0.5, 1.5) - 1) / objects)) * rng.number(0.7, 1.4)
        painters[rng.whole_number(0, len(painters) - 1)](max(scale, 1.5))
    canvas.cut_body()
    return canvas.labels


def random_turns(rng: Random, count: int) -> torch.Tensor:
    """Uniformly random rotation matrices, shape `(count, 3, 3)`."""
    w, x, y, z = F.normalize(rng.normal(4, count), dim=0)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


class _Canvas:
    """Labels under way; all coordinates are voxels from the centre of the volume."""

    def __init__(self, rng: Random, count: int, size: int):
        self.rng, self.count, self.size = rng, count, size
        axis = torch.arange(size, device=rng.device, dtype=torch.float32) - (size - 1) / 2
        grid = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"))
        # One common warp makes every shape below irregular, at two scales.
        warp = smooth_noise(rng, count, 3, size, size / 4) * (size / 24)
        warp += smooth_noise(rng, count, 3, size, size / 10) * (size / 64)
        self.places = grid + warp
        self.labels = torch.zeros((count, size, size, size), dtype=torch.uint8, device=rng.device)
        self.next_label = 1

    def _new_labels(self, number: int) -> int:
        """First of `number` labels not used yet; starts over when they run out, which only merges far shapes."""
        if self.next_label + number > MAX_LABELS:
            self.next_label = 1
        first = self.next_label
        self.next_label += number
        return first

    def _local(self, spread: float = 0.4) -> torch.Tensor:
        """Coordinates in a randomly placed and turned frame, shape `(3, count, size, size, size)`."""
        centre = self.rng.uniform(-spread * self.size, spread * self.size, self.count, 3)
        turn = random_turns(self.rng, self.count)
        flat = self.places.flatten(2) - centre[..., None]
        return torch.bmm(turn, flat).view_as(self.places).movedim(1, 0)

    def _each(self, values: torch.Tensor) -> torch.Tensor:
        """Values a map, shaped to go with its voxels."""
        return values.view(-1, 1, 1, 1)

    def _paint(self, inside: torch.Tensor, label: torch.Tensor | int, probability: float = 0.8) -> None:
        """Put `label` where `inside`, on most of the maps."""
        wanted = inside & self._each(self.rng.chance(probability, self.count))
        if isinstance(label, int):
            self.labels.masked_fill_(wanted, label)
        else:
            self.labels = torch.where(wanted, label.to(torch.uint8), self.labels)

    def paint_ground(self) -> None:
        """Regions where one of several noise fields is the largest, at a random scale with finer detail on it."""
        regions = self.rng.whole_number(3, 8)
        coarse = self.rng.number(self.size / 12, self.size / 2)
        first = self._new_labels(regions)
        best = None
        for region in range(regions):
            field = smooth_noise(self.rng, self.count, 1, self.size, coarse)[:, 0]
            field += 0.35 * smooth_noise(self.rng, self.count, 1, self.size, max(coarse / 3, 3.0))[:, 0]
            if best is None:
                best, self.labels = field, torch.full_like(self.labels, first)
            else:
                self.labels.masked_fill_(field > best, first + region)
                best = torch.maximum(best, field)

    def paint_blob(self, radius: float) -> None:
        """A warped ellipsoid, often of nested layers like an onion."""
        radii = radius * self.rng.log_uniform(0.5, 1.6, 3, self.count)
        local = self._local()
        depth = sum((local[k] / self._each(radii[k])) ** 2 for k in range(3)).sqrt()
        layers = self.rng.whole_number(1, 3) if radius > 6 else 1
        first = self._new_labels(layers)
        self._paint(depth < 1, first + (depth * layers).long().clamp(max=layers - 1))

    def paint_sheet(self, extent: float) -> None:
        """A thin curved sheet."""
        thickness = self.rng.log_uniform(1.0, 4.0, self.count)
        bend = self.rng.uniform(-0.6, 0.6, 2, self.count) / extent
        x, y, z = self._local()
        height = z + self._each(bend[0]) * x**2 + self._each(bend[1]) * y**2
        self._paint(
            (height.abs() < self._each(thickness) / 2) & (x**2 + y**2 < (1.5 * extent) ** 2), self._new_labels(1)
        )

    def paint_tube(self, extent: float) -> None:
        """A winding tube, like a vessel, sometimes with a wall."""
        radius = self.rng.log_uniform(1.0, max(1.5, min(6.0, extent / 3)), self.count)
        swing = self.rng.uniform(0.1, 0.5, 2, self.count) * extent
        pace = self.rng.uniform(1.0, 4.0, 2, self.count) / extent
        phase = self.rng.uniform(0, 6.28, 2, self.count)
        x, y, z = self._local()
        off = [
            side - self._each(swing[k]) * torch.sin(self._each(pace[k]) * x + self._each(phase[k]))
            for k, side in enumerate((y, z))
        ]
        distance = (off[0] ** 2 + off[1] ** 2).sqrt() / self._each(radius)
        first = self._new_labels(2)
        self._paint((distance < 1) & (x.abs() < 1.5 * extent), first + (distance > 0.65).long())

    def paint_folds(self, radius: float) -> None:
        """A body whose surface is folded like a cortex: core, ribbon of even thickness, and a layer outside of it."""
        if radius < 10:
            return self.paint_blob(radius)
        radii = radius * self.rng.log_uniform(0.7, 1.4, 3, self.count)
        wavelength = self.rng.number(6.0, 20.0)
        folds = smooth_noise(self.rng, self.count, 1, self.size, wavelength)[:, 0]
        local = self._local(0.25)
        depth = sum((local[k] / self._each(radii[k])) ** 2 for k in range(3)).sqrt()
        level = (depth - 1) * radius + self._each(self.rng.uniform(0.3, 0.9, self.count)) * wavelength * folds
        # Dividing by the slope turns the level function into about a distance, so that the ribbon has even thickness.
        slope = sum(gradient**2 for gradient in torch.gradient(level, dim=(1, 2, 3))).sqrt()
        distance = level / slope.clamp_min(0.3)
        ribbon = self._each(self.rng.uniform(1.5, 4.0, self.count))
        fluid = self._each(self.rng.uniform(0.0, 4.0, self.count))
        first = self._new_labels(3)
        layer = (distance > 0).long() + (distance > ribbon).long()
        return self._paint(distance < ribbon + fluid, first + layer)

    def cut_body(self) -> None:
        """Background outside of a warped ellipsoid, with up to three coats (skin, skull) just inside of it."""
        radii = self.size * self.rng.uniform(0.3, 0.6, 3, self.count)
        local = self._local(0.05)
        depth = sum((local[k] / self._each(radii[k])) ** 2 for k in range(3)).sqrt()
        coats = self._new_labels(3)
        thickness = self.rng.uniform(0.0, 0.08, 3, self.count)
        edge = torch.ones(self.count, device=self.rng.device)
        body = self._each(self.rng.chance(0.7, self.count))
        for coat in range(3):
            inner = edge - thickness[coat] * self.rng.chance(0.5, self.count)
            band = (depth < self._each(edge)) & (depth >= self._each(inner)) & body
            self.labels.masked_fill_(band, coats + coat)
            edge = inner
        self.labels.masked_fill_((depth >= 1) & body, BACKGROUND)
