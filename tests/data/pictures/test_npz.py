"""Image arrays from .npz files."""

import io
import zipfile

import numpy as np
import pytest

from gen_jax import data


@pytest.fixture
def write(tmp_path):
    def write(**arrays: np.ndarray) -> str:
        np.savez_compressed(tmp_path / "set.npz", **arrays)
        return f"npz:{tmp_path / 'set.npz'}"

    return write


def images(n: int = 20, *, seed: int = 0, shape: tuple[int, ...] = (5, 4)) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)


def test_named_splits(write):
    train, test = images(20), images(7, seed=1)
    spec = write(
        train_images=train,
        train_labels=np.arange(20, dtype=np.uint8),
        test_images=test,
        test_labels=np.arange(7),
    )
    whole = data.load(spec, "train+validation")
    np.testing.assert_array_equal(whole.images[..., 0], train)
    assert whole.labels.dtype == np.int32
    assert whole.name == spec
    np.testing.assert_array_equal(data.load(spec, "test").images[..., 0], test)
    parts = [data.load(spec, split) for split in ("train", "validation")]
    for part in parts:
        np.testing.assert_array_equal(part.images[..., 0], train[part.labels])
    assert sorted(np.concatenate([part.labels for part in parts]).tolist()) == list(range(20))


def test_a_validation_split_of_its_own(write):
    train, validation = images(9, shape=(5, 4, 3)), images(3, seed=1, shape=(5, 4, 3))
    spec = write(train_images=train, validation_images=validation)
    np.testing.assert_array_equal(data.load(spec, "train").images, train)
    np.testing.assert_array_equal(data.load(spec, "validation").images, validation)
    both = data.load(spec, "train+validation")
    np.testing.assert_array_equal(both.images, np.concatenate([train, validation]))
    assert both.labels is None
    assert both.split == "train+validation"


def test_one_plain_set_is_split_in_three(write):
    spec = write(images=images(20), labels=np.arange(20))
    labels = [data.load(spec, split).labels for split in ("train", "validation", "test")]
    assert [len(part) for part in labels] == [16, 2, 2]
    assert sorted(np.concatenate(labels).tolist()) == list(range(20))


def test_size_and_channels_are_converted(write):
    spec = write(images=images(20))
    dataset = data.load(spec, "train", image_size=8, channels=3)
    assert dataset.image_shape == (8, 8, 3)
    assert dataset.images.shape == (16, 8, 8, 3)
    assert (np.ptp(dataset.images.astype(int), axis=-1) == 0).all()


@pytest.mark.parametrize(
    ("arrays", "found"),
    [
        ({"x_train": images(), "y_train": images()}, "holds x_train, y_train"),
        ({}, "holds no arrays"),
        ({"images": images() / 255.0}, r"images is float64 \[20, 5, 4\]"),
        ({"images": images(shape=(5,))}, r"images is uint8 \[20, 5\]"),
        ({"images": images(shape=(5, 4, 2))}, r"images is uint8 \[20, 5, 4, 2\]"),
        (
            {"images": images(), "labels": np.zeros(20)},
            r"labels is float64 \[20\]",
        ),
        (
            {"images": images(), "labels": np.zeros(19, int)},
            r"19 labels for 20 images",
        ),
    ],
)
def test_wrong_keys_types_and_shapes(write, arrays, found):
    wanted = (
        r"; expected images \(uint8 \[N, H, W\] or \[N, H, W, C\] with C of 1 or 3\), with labels"
    )
    with pytest.raises(data.DataError, match=f"^npz:.*{found}{wanted}") as error:
        data.load(write(**arrays), "train")
    assert "\n" not in str(error.value)


def test_classes_are_the_distinct_labels_of_all_splits(write):
    ids = np.array([39_000_000, 7, 7, 2**63 - 1])
    spec = write(
        train_images=images(4), train_labels=ids, test_images=images(2), test_labels=[[12], [7]]
    )
    train = data.load(spec, "train", validation_fraction=0.0)
    test = data.load(spec, "test")
    assert train.class_names == test.class_names == ("7", "12", "39000000", str(2**63 - 1))
    assert train.labels.tolist() == [2, 0, 0, 3]
    assert test.labels.tolist() == [1, 0]
    assert test.labels.dtype == np.int32


def test_labels_that_number_no_class(write):
    spec = write(train_images=images(4), test_images=images(4), test_labels=[0, 3, 1, -1])
    with pytest.raises(
        data.DataError,
        match=r"^npz:\S+: test_labels hold -1; a label is the number of a class, 0 or more$",
    ):
        data.load(spec, "test")


def test_splits_by_any_of_their_spellings(write):
    """As MedMNIST calls them."""
    parts = {name: images(n, seed=n) for name, n in (("train", 9), ("val", 4), ("test", 3))}
    spec = write(
        **{f"{name}_images": part for name, part in parts.items()},
        **{f"{name}_labels": np.zeros((len(part), 1), np.uint8) for name, part in parts.items()},
    )
    for split, name in (("train", "train"), ("validation", "val"), ("test", "test")):
        dataset = data.load(spec, split)
        np.testing.assert_array_equal(dataset.images[..., 0], parts[name])
        assert dataset.labels.shape == (len(parts[name]),)


def test_keys_that_mean_nothing_are_named_where_a_split_is_missing(write):
    spec = write(train_images=images(), train_label=np.zeros(20, int), tset_image=images())
    with pytest.raises(
        data.DataError, match=r"no split 'extra'; it has .*; ignored: train_label, tset_image$"
    ):
        data.load(spec, "extra")


def test_keys_that_mean_two_things_are_refused(write):
    with pytest.raises(data.DataError, match=r"has validation twice, as val and valid; keep one"):
        data.load(write(val_images=images(), valid_images=images()), "validation")
    with pytest.raises(
        data.DataError, match=r"holds both images and test_images; a file has either one set or"
    ):
        data.load(write(images=images(), test_images=images()), "train")


def test_splits_of_other_sizes(write):
    spec = write(train_images=images(9), validation_images=images(9, shape=(6, 4)))
    with pytest.raises(data.DataError, match=r"differ in size: .* validation is 6×4 .* train 5×4"):
        data.load(spec, "train+validation")
    both = data.load(spec, "train+validation", image_size=4)
    assert both.images.shape == (18, 4, 4, 1)
    parts = [data.load(spec, split) for split in ("train", "validation", "validation")]
    with pytest.raises(data.DataError, match=r"^images differ in size: .* give an image_size"):
        data.check_splits(*parts, classes=False)


def test_a_digest_follows_from_the_arrays_and_the_options(write, tmp_path):
    def digest(name="set", **options):
        return data.load(f"npz:{tmp_path / name}.npz", "train", **options).digest

    write(images=images(), labels=np.arange(20))
    first = digest()
    np.savez(tmp_path / "moved.npz", labels=np.arange(20), images=images())
    assert digest("moved") == first
    others = [digest(image_size=4), digest(channels=3), digest(seed=1)]
    write(images=images(seed=1), labels=np.arange(20))
    others.append(digest())
    write(images=images(), labels=np.arange(20)[::-1])
    others += [digest(), digest(image_size=4)]
    assert len({first, *others}) == 1 + len(others)


def test_an_empty_array(write):
    with pytest.raises(data.DataError, match=r"npz: images holds no image$"):
        data.load(write(images=images(0)), "train")


def test_objects_are_not_unpickled(write):
    spec = write(images=np.array([{"a": 1}, None], object))
    with pytest.raises(data.DataError, match=r"images is not a plain array \(Object arrays"):
        data.load(spec, "train")


def test_damaged_and_missing_files(tmp_path, write):
    with pytest.raises(data.DataError, match=r"^npz:\S+: there is no file \S+gone.npz$"):
        data.load(f"npz:{tmp_path / 'gone.npz'}", "train")
    path = tmp_path / "set.npz"
    write(images=images(200))
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 255
    for content in (b"", b"no archive", whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(data.DataError, match=r"^npz:\S+ cannot be read \(.+\); an .npz file"):
            data.load(f"npz:{path}", "train")
    np.save(path.with_suffix(".npy"), images())
    with pytest.raises(data.DataError, match="cannot be read"):
        data.load(f"npz:{path.with_suffix('.npy')}", "train")


def test_a_small_archive_of_a_huge_array_is_refused_unread(tmp_path):
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        header = io.BytesIO()
        shape = (100_000, 28, 28)
        np.lib.format.write_array_header_1_0(
            header, {"descr": "|u1", "fortran_order": False, "shape": shape}
        )
        archive.writestr("images.npy", header.getvalue() + bytes(int(np.prod(shape))))
    with pytest.raises(
        data.DataError, match=r"images takes 784001\d\d bytes of memory, more than memory_limit=10"
    ):
        data.load(f"npz:{path}", "train", memory_limit=10 * 2**20)
