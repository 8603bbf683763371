"""What a network is to the objective and to the samplers.

A network is a linen module over images ``[batch, *space, channels]`` (sound has one spatial axis).
Called on a whole image it is the model: the outputs of a unit depend on the units before it in
raster order alone. For sampling it offers the same arithmetic piece by piece, as plain functions
of its parameters: per row, what depends on the rows above; per pixel, what depends on the
pixels to the left. ``sampling.cached`` scans them:

    weights = model.weights(params)                      # parameters, cut for the steps
    rows = model.start(weights, batch_size, width)       # memory of rows above, before the first
    for each row i:
        rows, contexts, left = model.row(weights, rows, i, cond_row)
        for each pixel j:
            left, trace, value = model.pixel(weights, left, contexts[j], j, draw)
        rows = model.end_row(weights, rows, left, traces, values)

A condition is embedded once, before the first step; ``cond_row`` is a row of what ``embed`` made.

``contexts``, ``traces`` and ``values`` have the pixels of a row on their first axis. ``draw(unit,
outputs)`` draws the values [batch, n_values] of a unit of the pixel.
"""

from collections.abc import Callable
from typing import Any, Protocol

import flax.linen as nn
import jax
import numpy as np
from jax.core import Tracer
from jaxtyping import Float

from gen_jax.densities import Sequential
from gen_jax.nn.condition import Condition, as_condition
from gen_jax.typing import Array, Params, PRNGKeys

Draw = Callable[[int, Array], Array]
Tree = Any  # a pytree of arrays, known to the network alone


class Network(Protocol):
    """An autoregressive model of images or sound."""

    @property
    def likelihood(self) -> Sequential: ...

    @property
    def n_classes(self) -> int | None:
        """Number of classes that it is conditioned on, None if on none."""
        ...

    @property
    def condition(self) -> nn.Module | None:
        """The encoder of a spatial condition: called with the whole of it [B, *any, C'] as floats,
        it gives features [B, *space, F] of the examples' size, or of one pixel [B, 1, 1, F].

        ``nn.encoders`` has some. None where each pixel of the condition is mapped linearly.
        """
        ...

    def __call__(
        self,
        x: Float[Array, "batch *space channels"],
        cond: Condition | Array | None = None,
        dropout: PRNGKeys | None = None,
    ) -> Float[Array, "batch *space units n_outputs"]:
        """The raw outputs of every unit. ``cond`` is a condition, or what ``embed`` made of it.
        ``dropout`` holds a key for each example, in training."""
        ...

    def embed(self, cond: Condition) -> Float[Array, "batch *space features"]:
        """The condition as the layers and the steps below take it (linen method)."""
        ...

    def weights(self, params: Params) -> Tree:
        """The parameters, masked, normalized and cut into what the steps multiply by."""
        ...

    def start(self, weights: Tree, batch_size: int, width: int) -> Tree:
        """The memory of the rows above, before the first row."""
        ...

    def row(
        self, weights: Tree, rows: Tree, i: Array, cond: Float[Array, "batch width c"] | None
    ) -> tuple[Tree, Tree, Tree]:
        """The memory of rows, the context of each pixel of row ``i`` [width, ...], and the memory
        left of the first.

        ``cond`` is the row of the embedded condition, of width 1 where it is the same everywhere.
        """
        ...

    def pixel(
        self, weights: Tree, left: Tree, context: Tree, j: Array, draw: Draw
    ) -> tuple[Tree, Tree, Array]:
        """Draws pixel ``j``: the memory after it, its trace for ``end_row``, its values [B, C]."""
        ...

    def end_row(self, weights: Tree, rows: Tree, left: Tree, traces: Tree, values: Array) -> Tree:
        """The memory of the rows, with the one just drawn."""
        ...


def embedded(
    network: Network, cond: Condition | Array | None, shape: tuple[int, ...]
) -> Float[Array, "batch *space features"] | None:
    """What the layers of ``network`` take of ``cond``, which may be embedded already, for examples
    of ``shape`` (B, *space, C). Called within a module: it runs the network's encoder.

    Raises ``ValueError`` where a network with an encoder gets no spatial condition, and where the
    features are neither of the examples' size nor of one pixel.
    """
    is_missing = cond is None or (isinstance(cond, Condition) and cond.spatial is None)
    if is_missing and network.condition is not None:
        raise ValueError("a model with an encoder of conditions needs a spatial condition")
    if cond is None:
        return None
    features = network.embed(cond) if isinstance(cond, Condition) else cond
    size = features.shape[1:-1]
    if size != shape[1:-1] and max(size) > 1:
        made_by = "spatial condition" if network.condition is None else "condition's encoder"
        raise ValueError(
            f"the {made_by} gives features of size {size}, where the examples are of {shape[1:-1]}"
        )
    return features


def read_condition(model: Network, cond: Any, shape: tuple[int, ...]) -> Condition | None:
    """``cond`` as a ``Condition`` of the model, for examples of ``shape`` (B, *space, C).

    Raises ``ValueError`` where it is for another number of examples or, with no encoder to enlarge
    it, for examples of another size, where a model of classes gets no labels, and for a label (of
    those known now: a traced one is not) that is not a class.
    """
    condition = as_condition(cond)
    for leaf in jax.tree.leaves(condition):
        if leaf.shape[0] != shape[0]:
            raise ValueError(
                f"the condition is for {leaf.shape[0]} examples, the batch has {shape[0]}"
            )
    spatial = None if condition is None else condition.spatial
    if spatial is not None and model.condition is None and spatial.shape[1:-1] != shape[1:-1]:
        raise ValueError(
            f"a spatial condition must be of the examples' own size {shape[1:-1]}, got "
            f"{spatial.shape[1:-1]}: a model without an encoder does not enlarge it"
        )
    if model.n_classes is None:
        return condition
    label = None if condition is None else condition.label
    if label is None:
        raise ValueError(f"a model of {model.n_classes} classes needs a label for each example")
    if not isinstance(label, Tracer):
        known = np.asarray(label)
        wrong = known[(known < 0) | (known >= model.n_classes)]
        if wrong.size:
            raise ValueError(f"labels must lie in 0..{model.n_classes - 1}, got {wrong[0]}")
    return condition
