"""Tables of networks and layers for the terminal."""

from __future__ import annotations

from rich.table import Table

from deepfeatures.networks import catalog, weight_store


def networks_table() -> Table:
    """Every network of the catalog, one row each."""
    table = Table(title="Networks (the paper's number where it has one)")
    table.add_column("name", no_wrap=True)
    for column in ("paper", "parameters", "layers"):
        table.add_column(column, justify="right")
    for column in ("weights", "licence", "what it is"):
        table.add_column(column)
    for network in map(catalog.describe, catalog.names()):
        table.add_row(
            network.name,
            "" if network.paper_number is None else str(network.paper_number),
            f"{network.parameters:,}",
            str(len(network.layers)),
            network.weights,
            network.licence,
            network.summary,
        )
    return table


def weights_table() -> Table:
    """Every place for weights, one row each."""
    table = Table(title="Weights")
    table.add_column("weights", no_wrap=True)
    for column in ("state", "MB", "sha256", "licence", "file, or how to get it"):
        table.add_column(column, justify="right" if column == "MB" else "left")
    for stored in weight_store.all_stored_weights():
        command = "fetch" if stored.source else "import"
        file = "" if stored.source else " FILE"
        table.add_row(
            stored.name,
            stored.state,
            f"{stored.size / 1e6:.1f}" if stored.path else "",
            stored.sha256[:12],
            stored.licence,
            str(stored.path or f"deepfeatures weights {command} {stored.networks[0]}{file}"),
        )
    return table


def layers_table(name: str) -> Table:
    """Every layer of one network, one row each, the default one marked.

    Raises:
        InputError: Where there is no such network.
    """
    network = catalog.describe(name)
    other_names = {layer: alias for alias, layer in network.aliases.items()}
    table = Table(title=f"Layers of {network.name} (* default)")
    table.add_column("layer", no_wrap=True)
    for column in ("channels", "stride in voxels", "receptive field in voxels"):
        table.add_column(column, justify="right")
    for column in ("available", "also called"):
        table.add_column(column)
    for layer in network.layers.values():
        table.add_row(
            layer.name + (" *" if layer.name == network.default_layer else ""),
            str(layer.channels),
            str(layer.stride),
            str(layer.receptive_field),
            "yes" if layer.available else "no",
            other_names.get(layer.name, ""),
        )
    return table
