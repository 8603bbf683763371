"""Batches as a pure function of the step, and evaluation that sees each example once."""

import collections
import dataclasses
import operator
import threading
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int

from gen_jax.data.dataset import AnyDataset, Sided
from gen_jax.data.errors import DataError
from gen_jax.data.example import Examples
from gen_jax.data.permutation import check_seed, permutation

# These separate the orders of epochs from other uses of a seed.
_EPOCHS = 0
_SIDES = 3


class Batches:
    """Shuffled training batches; any of them can be made at any time, from any thread.

    Example ``i = step * batch_size + j`` of the training stream is at place ``i % N`` of epoch
    ``i // N``, whose order is a function of (seed, epoch). So a resumed run needs no iterator
    state, and an epoch that does not end with a batch loses no example. A batch larger than the
    set spans several epochs, and holds examples several times. Each side of a set of unpaired
    sides (``Sided``) has a stream of its own, with orders and epochs of its own.

    Raises ``DataError`` for a batch size below 1, a set without examples, and a seed that is no
    whole number from 0 to 2**32 - 1.
    """

    def __init__(self, dataset: AnyDataset, batch_size: int, *, seed: int):
        _check_batch_size(batch_size)
        if not len(dataset):
            raise DataError(f"{dataset.name} has no examples in its {dataset.split} split")
        check_seed(seed)
        self.dataset = dataset
        self.batch_size = batch_size
        self.seed = seed
        if isinstance(dataset, Sided):
            self._take = dataset.take_each
            self._streams = [
                _Stream(n, batch_size, seed, _SIDES, side)
                for side, n in enumerate(dataset.side_lengths)
            ]
        else:
            self._take = dataset.take
            self._streams = [_Stream(len(dataset), batch_size, seed, _EPOCHS)]

    @property
    def steps_per_epoch(self) -> int:
        """Steps after which every example has been seen (the last may begin the next epoch)."""
        return -(-len(self.dataset) // self.batch_size)

    def batch_at(self, step: int, rows: slice | None = None) -> Examples:
        """Returns the batch of a step, under the keys of the data set's ``example_spec``.

        ``rows`` picks a part of the batch, and only that part is read.
        """
        step = operator.index(step)
        if step < 0:
            raise DataError(f"a step must be 0 or more, got {step}")
        rows = slice(None) if rows is None else rows
        return self._take(*(stream.indices_at(step)[rows] for stream in self._streams))


class _Stream:
    """The endless stream of ``range(n)``, shuffled anew in each epoch, cut into batches."""

    def __init__(self, n: int, batch_size: int, *purpose: int):
        self._n = n
        self._batch_size = batch_size
        self._purpose = purpose
        self._orders: collections.OrderedDict[int, np.ndarray] = collections.OrderedDict()
        self._lock = threading.Lock()

    def indices_at(self, step: int) -> Int[np.ndarray, " batch"]:
        epoch, place = divmod(step * self._batch_size, self._n)
        indices = self._order(epoch)[place : place + self._batch_size]
        while len(indices) < self._batch_size:
            epoch += 1
            missing = self._batch_size - len(indices)
            indices = np.concatenate([indices, self._order(epoch)[:missing]])
        return indices

    def _order(self, epoch: int) -> Int[np.ndarray, " n"]:
        with self._lock:
            if epoch not in self._orders:
                self._orders[epoch] = permutation(self._n, *self._purpose, epoch)
                while len(self._orders) > 2:  # a batch seldom touches more epochs
                    self._orders.popitem(last=False)
            self._orders.move_to_end(epoch)
            return self._orders[epoch]


@dataclasses.dataclass(frozen=True)
class EvaluationBatches:
    """What ``evaluation_batches`` returns; it can be iterated over any number of times."""

    dataset: AnyDataset
    batch_size: int

    def __len__(self) -> int:
        return -(-len(self.dataset) // self.batch_size)

    def __iter__(self) -> Iterator[Examples]:
        last = len(self.dataset) - 1
        for start in range(0, len(self.dataset), self.batch_size):
            places = np.arange(start, start + self.batch_size)
            # Padding repeats the last example: a blank image can be NaN under a normalization,
            # and a masked NaN is still NaN.
            yield {**self.dataset.take(np.minimum(places, last)), "mask": places <= last}


def evaluation_batches(dataset: AnyDataset, batch_size: int) -> EvaluationBatches:
    """Returns batches that hold each example exactly once, in order, all of one shape.

    "mask" bool [B] is False on the padding of the last batch. A set of fewer than ``batch_size``
    examples is one batch of its own size.
    """
    _check_batch_size(batch_size)
    return EvaluationBatches(dataset, max(1, min(batch_size, len(dataset))))


def _check_batch_size(batch_size: int) -> None:
    if batch_size < 1:
        raise DataError(f"the batch size must be 1 or more, got {batch_size}")
