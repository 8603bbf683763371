import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from experiments import train_digit_classifier
from experiments.running.options import UsageError
from experiments.running.run import run
from gen_jax import data
from gen_jax.evaluation import digits, weights
from gen_jax.evaluation.classifiers import Classifier
from gen_jax.evaluation.resize import resize


@pytest.fixture(scope="module")
def classifier():
    return digits.load()


@pytest.fixture(scope="module")
def examples():
    return data.load("mnist-subset", "test").take(np.arange(500))


@pytest.fixture(scope="module")
def judge():
    """Features and logits of 500 images, compiled once."""
    both = jax.jit(Classifier.__call__)

    def call(network, image):
        return [np.asarray(x) for x in both(network, jnp.asarray(image, jnp.float32))]

    return call


@pytest.fixture(scope="module")
def judged(classifier, examples, judge):
    return judge(classifier, examples["image"])


# The shipped classifier


def test_it_reads_digits(judged, examples):
    _, logits = judged
    assert (logits.argmax(1) == examples["label"]).mean() >= 0.99


def test_its_errors_on_full_mnist_are_those_of_digits_md(classifier, judge, shared_data):
    test = data.load(f"npz:{shared_data / 'mnist.npz'}", "test")
    guesses = [
        judge(classifier, batch["image"])[1].argmax(1)
        for batch in data.evaluation_batches(test, 500)
    ]
    labels = test.take(np.arange(len(test)))["label"]
    accuracy = (np.concatenate(guesses) == labels).mean()
    assert accuracy >= 0.993
    stated = re.search(r"\| ([\d.]+) % \(", digits.KIND.shipped.with_suffix(".md").read_text())
    # Elsewhere a sum in another order may tip a digit that stands on the edge.
    assert stated is not None
    assert 100 * accuracy == pytest.approx(float(stated[1]), abs=0.03)


def test_a_digits_features_do_not_depend_on_its_batch(judged, classifier, examples, judge):
    order = np.random.default_rng(0).permutation(500)
    features, logits = judge(classifier, examples["image"][order])
    np.testing.assert_allclose(features, judged[0][order], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(logits, judged[1][order], rtol=1e-4, atol=1e-4)


def test_features_say_all_that_the_logits_do(judged, classifier, examples):
    features, logits = judged
    assert features.shape == (500, 128)
    assert features.min() == 0.0
    assert (features.std(axis=0) > 0.0).sum() > 64  # directions that a distance can see
    with_one = np.concatenate([features, np.ones((500, 1))], axis=1)
    fit, *_ = np.linalg.lstsq(with_one, logits, rcond=1e-6)
    np.testing.assert_allclose(with_one @ fit, logits, atol=2e-3)
    few = jnp.asarray(examples["image"][:3])
    np.testing.assert_allclose(classifier.features(few), features[:3], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(classifier.logits(few), logits[:3], rtol=1e-4, atol=1e-4)
    log_p = np.asarray(classifier.log_probs(few))
    np.testing.assert_allclose(np.exp(log_p).sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(log_p - log_p[:, :1], logits[:3] - logits[:3, :1], atol=1e-3)


def test_digits_of_another_size_are_read_once_resized(classifier, examples, judge):
    large = jnp.round(resize(jnp.asarray(examples["image"]), 40)).astype(jnp.uint8)
    _, logits = judge(classifier, resize(large, 28))
    assert (logits.argmax(1) == examples["label"]).mean() >= 0.98


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        (
            (2, 32, 32, 1),
            r"expects gray .*\[B, 28, 28, 1\], got \[2, 32, 32, 1\]; .*resize\(image, 28",
        ),
        ((2, 28, 28, 3), r"expects gray images \[B, 28, 28, 1\], got \[2, 28, 28, 3\]$"),
        ((28, 28, 1), r"got \[28, 28, 1\]$"),
    ],
)
def test_other_images_are_refused(classifier, shape, message):
    for function in (classifier.features, classifier.logits, classifier.log_probs):
        with pytest.raises(ValueError, match=message):
            function(jnp.zeros(shape, jnp.uint8))


def test_levels_are_uint8_or_floats(classifier):
    image = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 1))
    stored, floats = (classifier.logits(jnp.asarray(image, d)) for d in (jnp.uint8, jnp.float32))
    np.testing.assert_array_equal(stored, floats)
    with pytest.raises(ValueError, match=r"uint8 \(levels 0\.\.255\) or floats, got int32"):
        classifier.logits(jnp.asarray(image, jnp.int32))


def test_the_shipped_file_is_small_and_what_digits_md_describes(classifier):
    assert digits.KIND.shipped.stat().st_size <= 2**20
    assert classifier.digest in digits.KIND.shipped.with_suffix(".md").read_text()


# Files of weights


def shipped_tensors():
    return weights.read(digits.KIND.shipped)


def test_weights_come_back_as_they_were_made(classifier, tmp_path):
    digits.KIND.save(tmp_path / "w.safetensors", classifier.params)
    again = digits.load(tmp_path / "w.safetensors")
    assert again.digest == digits.KIND.make(classifier.params).digest == classifier.digest
    jax.tree.map(np.testing.assert_array_equal, again.params, classifier.params)
    assert [path.name for path in tmp_path.iterdir()] == ["w.safetensors"]


def test_the_digest_counts_names_types_shapes_and_values_but_no_order():
    a, b = np.arange(6.0), np.ones(2, np.float32)
    digest = weights.digest({"a": a, "b": b})
    assert weights.digest({"b": b, "a": a}) == digest
    others = [
        {"a": a, "c": b},
        {"a": a.astype(np.float32), "b": b},
        {"a": a.reshape(2, 3), "b": b},
        {"a": a[::-1], "b": b},
        {"a": a},
    ]
    assert len({digest, *map(weights.digest, others)}) == 6


def without_checksum(**changes):
    return lambda _: safetensors.numpy.save(
        {n: a for n, a in (shipped_tensors() | changes).items() if a is not None}
    )


def flipped(content):
    """One bit of the last number's sign."""
    return content[:-1] + bytes([content[-1] ^ 0x80])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (flipped, "is damaged: its numbers are not those that were written"),
        (lambda content: content[:-9], "is not a safetensors file, or is damaged: "),
        (lambda content: b"", "is not a safetensors file, or is damaged: "),
        (lambda content: b"{}" * 40, "is not a safetensors file, or is damaged: "),
        (lambda content: b"PK\3\4" + content, "is a PyTorch file; .*convert_inception"),
        (
            without_checksum(**{"Conv_1.bias": None}),
            "is not of the digit classifier: Conv_1.bias is missing",
        ),
        (
            without_checksum(**{"Conv_1.bias": np.zeros(65, np.float16)}),
            r"is not of the digit classifier: Conv_1.bias has shape \[65\], not \[64\]",
        ),
        (
            without_checksum(**{"Conv_1.bias": np.zeros(64, np.int32)}),
            "is not of the digit classifier: Conv_1.bias holds int32",
        ),
        (
            without_checksum(**{"Conv_1.bias": np.full(64, np.inf, np.float16)}),
            "is damaged: Conv_1.bias has values that are not finite",
        ),
    ],
)
def test_damaged_and_foreign_files_are_one_line(tmp_path, change, message):
    path = tmp_path / "w.safetensors"
    path.write_bytes(change(digits.KIND.shipped.read_bytes()))
    with pytest.raises(weights.WeightsError, match=f"^{path} {message}") as caught:
        digits.load(path)
    assert "\n" not in str(caught.value)


def test_numbers_that_numpy_lacks_are_one_line(tmp_path):
    header = b'{"a":{"dtype":"BF16","shape":[1],"data_offsets":[0,2]}}'
    path = tmp_path / "w.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0")
    with pytest.raises(weights.WeightsError, match=r"Conv_0.*missing|type that NumPy lacks"):
        digits.load(path)


def test_a_file_that_cannot_be_had_is_one_line(tmp_path):
    with pytest.raises(weights.WeightsError, match="there is no weights file"):
        weights.read(tmp_path / "w.safetensors")
    with pytest.raises(weights.WeightsError, match="there is no weights file"):
        weights.read(tmp_path)
    with pytest.raises(weights.WeightsError, match=r"cannot write .*: No such file"):
        weights.write(tmp_path / "nowhere" / "w.safetensors", {"a": np.zeros(1)})


# How it was made


@pytest.fixture(scope="module")
def training_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "digits"
    run(train_digit_classifier.EXPERIMENT, ["smoke", "--run-dir", str(folder), "--quiet"])
    return folder


@pytest.mark.smoke
def test_the_training_script_learns_and_writes_its_weights(training_run):
    metrics = json.loads((training_run / "summary.json").read_text())["metrics"]
    assert metrics["test/accuracy"] > 0.5  # by chance: 0.1
    assert metrics["test/errors"] == round(2000 * (1.0 - metrics["test/accuracy"]))
    assert digits.load(training_run / "digits.safetensors").digest == metrics["weights_digest"]
    page = (training_run / "report.html").read_text()
    for title in ("Hardest test images", "What is taken for what", "Augmented images"):
        assert title in page


@pytest.mark.parametrize(
    ("shape", "labels", "message"),
    [
        ((20, 32, 32), np.arange(20) % 10, r"\(32, 32, 1\): --image-size 28 and --channels 1"),
        ((20, 28, 28), None, "needs labels, and npz:.* has none"),
        ((20, 28, 28), np.arange(20) % 2, "the classes are 0, 1, 2, .*, 9, and npz:.* has 0, 1"),
    ],
)
def test_data_that_are_no_digits_are_one_line(tmp_path, shape, labels, message):
    arrays = {} if labels is None else {"labels": labels}
    path = tmp_path / "set.npz"
    np.savez(path, images=np.zeros(shape, np.uint8), **arrays)
    options = ["smoke", "--run-dir", str(tmp_path / "run"), "--dataset", f"npz:{path}"]
    with pytest.raises(UsageError, match=message):
        run(train_digit_classifier.EXPERIMENT, [*options, "--batch-size", "4"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--rotation", "-1"], "--rotation must be 0 or more, got -1.0"),
        (["--label-smoothing", "1"], r"--label-smoothing must lie in \[0, 1\), got 1.0"),
    ],
)
def test_mistakes_on_the_command_line_are_one_line(options, message):
    with pytest.raises(UsageError, match=message):
        run(train_digit_classifier.EXPERIMENT, ["smoke", *options])
