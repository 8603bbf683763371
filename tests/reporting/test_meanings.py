from gen_jax.reporting.meanings import describe


def test_a_likelihood_says_its_unit_and_which_binarization():
    metrics = {"test/nll": 90.0, "binarization": "dynamic"}
    assert describe("test/nll", metrics).unit == "nats per image"
    assert describe("test/nll", metrics).label == "test negative log-likelihood"
    assert "drawn anew" in describe("binarization", metrics).explanation
    assert describe("test/bits_per_dim", metrics).unit == "bits/dim"
    assert describe("test/some_thing", metrics).label == "test, some thing"


def test_a_metric_of_a_row_or_a_way_is_named_in_words():
    assert (
        describe("test/best-constant-shift/l1", {}).label == "test best constant shift L1 distance"
    )
    assert describe("test/forward/psnr", {}).label == "test forward PSNR"
    assert describe("test/forward/psnr", {}).unit == "dB"


def test_the_longest_known_name_says_what_a_metric_means():
    own = describe("completed/bits_per_dim/own", {})
    assert own.label == "completed bits per dimension, given their own source"
    assert own.unit == "bits/dim"
    assert describe("completed/own", {}).label == "completed, own"
