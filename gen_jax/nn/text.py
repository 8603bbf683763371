"""An encoder of text by its letters: the char-CNN-RNN of Reed et al. 2016 (1605.05395, section 4).

Convolutions see the letters near one another, and a recurrent network what they make, in order. As
in the authors' code (reedscot/cvpr2016 and, for text to image, reedscot/icml2016), there is no
padding around a text, convolutions are of kernel 4, and the maximum is taken of each 3 places after
the first and the second: of 201 letters 18 places are left. The mean of the recurrent network's
states over these passes through a linear layer. With features (384, 512, 512) and 512 states it is
the encoder that 1605.05396 makes images from (in its code's ``CONFIG``: ``gru18_a1_c512``). The
first paper's code has 256 of both, a third maximum, and a network of ReLUs in the GRU's place.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.typing import DTypeLike
from jaxtyping import Float, Int

from gen_jax.nn.blocks import HE, LECUN
from gen_jax.nn.conv import Conv, conv
from gen_jax.nn.precision import last_dtype
from gen_jax.typing import Array

POOL = 3  # places of which the maximum is taken
Tokens = Int[Array, "batch length"]


class CharCNNRNN(nn.Module):
    """Texts [B, L] as vectors, float32 [B, embedding].

    A token is a letter's number from 1 on, below ``vocabulary``; 0 is no letter, and ends the text:
    what follows it is not read, as in the authors' loader. Numbers outside are no letters either.
    As in their network, empty places are seen as such, so a text does depend on its ``length``:
    filled up to another one, it has another embedding. Parameters are float32, ``dtype`` is what
    all but the last product is computed in. Raises ``ValueError`` for tokens that are no integers
    [B, L], for fewer than ``least_length``, and for unequal numbers of features and kernels.
    """

    features: Sequence[int] = (384, 512, 256)
    kernels: Sequence[int] = (4, 4, 4)
    hidden: int = 256
    embedding: int = 1024
    vocabulary: int = 71
    dtype: DTypeLike = jnp.float32

    @property
    def least_length(self) -> int:
        """The length of which the convolutions leave one place."""
        length = 1
        for i, kernel in enumerate(reversed(self.kernels)):
            length = (length if i == 0 else POOL * length) + kernel - 1
        return length

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "batch embedding"]:
        self._check(tokens)
        letters = _until_the_end(tokens, self.vocabulary)
        widths = list(zip(self.features, self.kernels, strict=True))
        x = _Letters(*widths[0], self.vocabulary, dtype=self.dtype, name="letters")(letters)
        for i, (features, kernel) in enumerate(widths[1:], start=1):
            x = nn.relu(_pooled(x))  # in the other order it is the same, of three times the work
            options: Any = {"padding": "VALID", "kernel_init": HE, "dtype": self.dtype}
            x = Conv(features, (kernel,), **options, name=f"conv_{i}")(x)
        states = GRU(self.hidden, dtype=self.dtype, name="gru")(nn.relu(x))
        dtype = last_dtype(self.dtype)
        last = nn.Dense(self.embedding, dtype=dtype, name="embedding")
        return last(states.astype(dtype).mean(1)).astype(jnp.float32)

    def _check(self, tokens: Tokens) -> None:
        if len(self.features) != len(self.kernels):
            raise ValueError(
                "a convolution has its features and its kernel, got "
                f"{tuple(self.features)} and {tuple(self.kernels)}"
            )
        if tokens.ndim != 2 or not jnp.issubdtype(tokens.dtype, jnp.integer):
            raise ValueError(f"tokens must be integers [B, L], got {tokens.dtype} {tokens.shape}")
        if tokens.shape[1] < self.least_length:
            raise ValueError(
                f"kernels {tuple(self.kernels)} need texts of {self.least_length} places or more, "
                f"got {tokens.shape[1]}: fill them up with zeros"
            )


class GRU(nn.Module):
    """A gated recurrent unit over [B, T, C]: all its states, [B, T, features].

        z, r = σ(x_t W + h_{t-1} U),   g = tanh(x_t V + (r ⊙ h_{t-1}) Y)
        h_t = (1 - z) ⊙ h_{t-1} + z ⊙ g,   h_1 = tanh(x_1 V)

    (Cho et al. 2014, 1406.1078; biases are left out here; the first state is the authors' of the
    char-CNN-RNN). What comes from x is one product for all steps.
    """

    features: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[Array, "batch time c"]) -> Float[Array, "batch time features"]:
        h = self.features
        inputs = nn.Dense(3 * h, dtype=self.dtype, name="input")(x).swapaxes(0, 1)
        gates, candidate = (
            self.param(name, LECUN, (h, width), jnp.float32).astype(self.dtype)
            for name, width in (("gates", 2 * h), ("candidate", h))
        )

        def step(state: Array, x: Array) -> tuple[Array, Array]:
            z, r = jnp.split(jax.nn.sigmoid(x[:, : 2 * h] + state @ gates), 2, axis=-1)
            new = jnp.tanh(x[:, 2 * h :] + (r * state) @ candidate)
            state = state + z * (new - state)
            return state, state

        first = jnp.tanh(inputs[0, :, 2 * h :])
        states = lax.scan(step, first, inputs[1:])[1]
        return jnp.concatenate([first[None], states]).swapaxes(0, 1)


class _Letters(nn.Module):
    """A convolution of one-hot letters without padding: [B, L] to [B, L - kernel + 1, features].

    ``kernel`` is [kernel, letters, features]. Of a window's ones there are ``kernel``, which is why
    the kernel's numbers have a variance of one over that.
    """

    features: int
    kernel: int
    vocabulary: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, tokens: Tokens) -> Float[Array, "batch places features"]:
        shape = (self.kernel, self.vocabulary - 1, self.features)
        kernel = self.param("kernel", nn.initializers.normal(self.kernel**-0.5), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,), jnp.float32)
        # On a CPU, rows of the kernel are looked up: for 40 texts of 201 letters and 384 features
        # in 1 ms where the product takes 16 (two x86 cores), and the gradient in 4 ms for 27. An
        # accelerator is fast at products, where its sums into rows are slow or in any order.
        x = lax.platform_dependent(tokens, kernel, cpu=self._rows, default=self._product)
        return x + bias.astype(self.dtype).reshape(1, 1, -1)

    def _rows(self, tokens: Tokens, kernel: Array) -> Array:
        table = jnp.pad(kernel, ((0, 0), (1, 0), (0, 0)))  # the row of no letter
        n = tokens.shape[1] - self.kernel + 1
        taps = (
            table[i].at[tokens[:, i : i + n]].get(mode="promise_in_bounds")
            for i in range(self.kernel)
        )
        # In float32, as the kernel is, so that the gradient's long sums are, too.
        return sum(taps, start=jnp.zeros((), kernel.dtype)).astype(self.dtype)

    def _product(self, tokens: Tokens, kernel: Array) -> Array:
        one_hot = jax.nn.one_hot(tokens - 1, self.vocabulary - 1, dtype=self.dtype)
        return conv(one_hot, kernel.astype(self.dtype), padding="VALID")


def _until_the_end(tokens: Tokens, vocabulary: int) -> Tokens:
    """Tokens as int32: 0 from the first 0 on, and in place of numbers outside the vocabulary."""
    tokens = tokens.astype(jnp.int32)
    letters = jnp.where((tokens >= 0) & (tokens < vocabulary), tokens, 0)
    ended = lax.cummax((tokens == 0).astype(jnp.int32), axis=1)
    return letters * (1 - ended)


def _pooled(x: Float[Array, "batch length c"]) -> Float[Array, "batch third c"]:
    """The maximum of each three places; one or two that are left at the end are dropped."""
    n = x.shape[1] // POOL * POOL
    # The gradient of a windowed reduction takes 20 times as long on a CPU: 38 ms for 1.8 on
    # 40 texts of 198 places with 384 features.
    thirds = [x[:, i:n:POOL] for i in range(POOL)]
    return jnp.maximum(jnp.maximum(thirds[0], thirds[1]), thirds[2])
