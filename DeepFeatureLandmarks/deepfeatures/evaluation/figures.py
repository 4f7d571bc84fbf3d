"""Figures of a study, as PNG bytes."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd

from deepfeatures.evaluation.tables import COLUMNS, label

CURVES = 8  # configurations in one figure of curves: more cannot be told apart


def heat_map(configurations: pd.DataFrame) -> bytes:
    """The paper's figure 5: t-statistics of layers and patch sizes, a panel a network.

    A cross marks a configuration that cannot be computed, a dash one that has not been.
    """
    from matplotlib.figure import Figure

    grid = configurations[configurations.method == "grid"]
    panels = list(grid.groupby(["network", "search", "initialization", "intensity"], sort=False))
    figure = Figure(figsize=(3.2 * len(panels) + 0.8, 3.4), layout="constrained")
    largest = np.nanmax(np.abs(grid.t.to_numpy(float)), initial=1.0)
    image = None
    for axes, (key, own) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        layers, sizes = list(dict.fromkeys(own.layer)), sorted(own.patch_size.unique())
        table = own.set_index(["layer", "patch_size"])[["t", "unavailable"]].unstack().reindex(index=layers)
        values, reasons = table.t[sizes].to_numpy(float), table.unavailable[sizes].to_numpy(object)
        image = axes.imshow(values, cmap="PuOr", vmin=-largest, vmax=largest, aspect="auto")
        for (row, column), value in np.ndenumerate(values):
            text = f"{value:.1f}" if np.isfinite(value) else "–" if reasons[row, column] == "" else "×"
            dark = np.isfinite(value) and abs(value) > 0.6 * largest
            axes.text(column, row, text, ha="center", va="center", fontsize=8, color="white" if dark else "black")
        axes.set_xticks(range(len(sizes)), sizes)
        axes.set_yticks(range(len(layers)), layers)
        axes.set(title=" ".join(part for part in key if part != "auto"), xlabel="patch size, voxels")
        axes.title.set_fontsize(9)
    figure.colorbar(image, ax=figure.axes, label="t: initial − final distance")
    return _png(figure)


def by_patch_size(configurations: pd.DataFrame) -> bytes:
    """Mean error against patch size, a line a layer."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    grid = configurations[(configurations.method == "grid") & configurations.mean_mm.notna()]
    for key, own in grid.groupby(["network", "layer", "search", "initialization", "intensity"], sort=False):
        own = own.sort_values("patch_size")
        axes.plot(
            own.patch_size,
            own.mean_mm,
            "o-",
            ms=4,
            label=" ".join(part for part in key if part not in ("dense", "auto")),
        )
    axes.axhline(configurations.initial_mm.mean(), color="black", ls=":", label="centres aligned")
    axes.set(xlabel="patch size, voxels", ylabel="mean error, mm", ylim=(0, None))
    axes.legend(fontsize=7, frameon=False)
    return _png(figure)


def cumulative(configurations: pd.DataFrame, errors: pd.DataFrame) -> bytes:
    """Share of landmarks within a distance of the truth, for the configurations that do best."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for key, own in _best(configurations, errors):
        axes.ecdf(own.error_mm, label=label(key))
    axes.ecdf(
        errors.drop_duplicates(["template", "target", "landmark"]).initial_mm,
        color="black",
        ls=":",
        label="centres aligned",
    )
    axes.set(xlabel="mm", ylabel="share of landmarks within", xlim=(0, errors.initial_mm.quantile(0.99)))
    axes.legend(fontsize=7, frameon=False)
    return _png(figure)


def by_landmark(configurations: pd.DataFrame, errors: pd.DataFrame) -> bytes:
    """Box plots of each landmark's errors with the configuration that does best."""
    from matplotlib.figure import Figure

    key, own = _best(configurations, errors)[0]
    groups = [(name, group.error_mm) for name, group in own.groupby("landmark", sort=False)]
    figure = Figure(figsize=(7, 1 + 0.25 * len(groups)), layout="constrained")
    axes = figure.subplots()
    axes.boxplot([values for _, values in groups], orientation="horizontal", widths=0.6)
    axes.set_yticks(range(1, len(groups) + 1), [name for name, _ in groups])
    axes.invert_yaxis()
    axes.set(xlabel="error, mm", title=label(key))
    return _png(figure)


def by_time(configurations: pd.DataFrame) -> bytes:
    """Mean error against seconds a target."""
    from matplotlib.figure import Figure

    there = configurations[configurations.mean_mm.notna()]
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    for _, row in there.iterrows():
        named = row.method != "grid"
        axes.plot(row.seconds, row.mean_mm, "s" if named else "o", ms=6 if named else 4, color="C1" if named else "C0")
        axes.annotate(
            label(row[COLUMNS]), (row.seconds, row.mean_mm), fontsize=6, xytext=(4, 2), textcoords="offset points"
        )
    axes.set(xscale="log", xlabel="seconds a target", ylabel="mean error, mm")
    return _png(figure)


def _best(configurations: pd.DataFrame, errors: pd.DataFrame) -> list[tuple[tuple, pd.DataFrame]]:
    groups = dict(list(errors.groupby(COLUMNS, sort=False)))
    ranked = configurations[configurations.mean_mm.notna()].sort_values("mean_mm")
    return [(key, groups[key]) for key in map(tuple, ranked[COLUMNS].head(CURVES).to_numpy(object))]


def _png(figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()
