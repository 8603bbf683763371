import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from gen_jax import adversarial
from gen_jax.adversarial import gan
from gen_jax.evaluation import health

STEPS = range(50, 2001, 50)


def rows(**series):
    """Rows of a log, a value a step; names have their slashes as double underscores."""
    return [
        {"step": step, **{name.replace("__", "/"): v[i] for name, v in series.items()}}
        for i, step in enumerate(STEPS)
    ]


def fall(start, at, end):
    """``start``, and from step ``at`` on ``end``."""
    return [start if step < at else end for step in STEPS]


HEALTHY = {
    "train__separation": [0.8] * 40,
    "train__diversity": [0.9] * 40,
    "train__generator__gradient": [1.0] * 40,
    "train__discriminator__gradient": [1.0] * 40,
    "train__convergence": [1.0 / (i + 1) for i in range(40)],
    "validation__training__logit": [1.0] * 40,
    "validation__held_out__logit": [0.8] * 40,
    "validation__generated__logit": [-1.0] * 40,
}


def test_a_healthy_log_has_nothing_to_say():
    assert health.diagnose(rows(**HEALTHY)) == []
    assert health.in_words(rows(**HEALTHY)) == ["None of the rules found anything wrong."]
    assert health.diagnose([]) == []


def test_too_short_a_log_is_not_called_healthy():
    assert health.in_words(rows(**HEALTHY)[:3]) == [
        "Too little was logged to judge: 3 rows, not 5 or more."
    ]
    looks = [{"step": step, "validation/classes_covered": 1} for step in (10, 20)]
    assert health.in_words([*looks, *rows(**HEALTHY)[:3]]) == [
        "Not all classes are generated (1 at the last evaluation) since step 10.",
        "Too little was logged to find more: 3 rows, not 5 or more.",
    ]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"train__separation": fall(0.8, 1000, 1.0)}, "separates real from generated"),
        ({"train__diversity": fall(0.9, 1000, 0.3)}, "Diversity is below 50% of its best"),
        ({"train__generator__gradient": fall(1.0, 1000, 1e-5)}, "G's gradient has vanished"),
        ({"train__discriminator__gradient": fall(1.0, 1000, 1e5)}, "D's gradient has exploded"),
        ({"train__convergence": fall(0.1, 1000, 0.4)}, "M is more than 1.5 times its lowest"),
        ({"validation__held_out__logit": fall(0.8, 1000, -0.5)}, "D overfits"),
        (
            {"validation__classes_covered": fall(10.0, 1000, 4.0)},
            "Not all classes are generated (4",
        ),
    ],
)
def test_each_rule_finds_what_it_is_for_and_when_it_began(change, words):
    (found,) = health.diagnose(rows(**(HEALTHY | change)))
    assert words in found.text
    assert 950 <= found.step <= 1000 + 50 * health.SMOOTHED
    (line,) = health.in_words(rows(**(HEALTHY | change)))
    assert line.endswith(f"since step {found.step:,}.")


def test_little_diversity_from_the_start_is_found_too():
    (found,) = health.diagnose(rows(**(HEALTHY | {"train__diversity": [0.2] * 40})))
    assert "vary less than 50% as much as real ones" in found.text


def test_what_has_passed_is_not_told():
    passed = [1.0 if 500 <= step < 1000 else 0.8 for step in STEPS]
    assert health.diagnose(rows(**(HEALTHY | {"train__separation": passed}))) == []


def test_a_critic_may_separate():
    log = rows(**(HEALTHY | {"train__separation": [1.0] * 40}))
    assert health.diagnose(log, critic=True) == []
    assert len(health.diagnose(log)) == 1


def two_games(forward, backward):
    """The log of two games that are played at once."""
    games = {"forward": forward, "backward": backward}
    series = {
        name.replace("__", f"__{game}__", 1): values
        for game, log in games.items()
        for name, values in log.items()
    }
    return rows(**series)


def test_each_of_two_games_is_watched_and_named():
    wins = {"train__separation": fall(0.8, 1000, 1.0)}
    vanishes = {"train__generator__gradient": fall(1.0, 500, 1e-5)}
    log = two_games(HEALTHY | wins, HEALTHY | vanishes)
    (forward,) = health.diagnose(log, prefix="forward/")
    assert forward.text == "Forward: D separates real from generated images perfectly"
    (backward,) = health.diagnose(log, prefix="backward/")
    assert backward.text == "Backward: G's gradient has vanished"
    assert health.diagnose(log) == []
    first, second = health.in_words(log, "forward/", "backward/")
    assert first.startswith("Backward: ")  # earliest first
    assert second.startswith("Forward: ")
    assert health.in_words(log, "forward/", "backward/", critic=True) == [first]


def test_a_game_is_judged_as_it_would_be_alone():
    for change in ({}, {"validation__held_out__logit": fall(0.8, 1000, -0.5)}):
        alone = health.diagnose(rows(**(HEALTHY | change)))
        log = two_games(HEALTHY | change, {"train__separation": [1.0] * 40})
        among = health.diagnose(log, prefix="forward/")
        assert [(f.step, f"Forward: {f.text}") for f in alone] == [(f.step, f.text) for f in among]


def test_two_games_are_healthy_only_where_both_were_logged():
    healthy = ["None of the rules found anything wrong."]
    assert health.in_words(two_games(HEALTHY, HEALTHY), "forward/", "backward/") == healthy
    (line,) = health.in_words(two_games(HEALTHY, {}), "forward/", "backward/")
    assert line == "Too little was logged to judge: 0 rows, not 5 or more."


def played(steps, *, g_rate, d_rate, target):
    """The log of a small game on bright or various images, a row a step."""
    generator = adversarial.DenseGenerator((8,), image_shape=(4, 4, 1), latent_dim=4)
    tx = [optax.adam(rate) for rate in (g_rate, d_rate)]
    state = gan.init(
        generator,
        adversarial.DenseDiscriminator((16,)),
        *tx,
        jax.random.key(0),
        {"image": jnp.zeros((1, 4, 4, 1), jnp.uint8)},
    )

    @jax.jit
    def run(state):
        step = functools.partial(gan.train_step, batch={"image": target})
        return jax.lax.scan(lambda state, _: step(state), state, length=steps)[1]

    metrics = {name: np.asarray(x) for name, x in run(state).items()}
    return [
        {"step": i + 1, **{f"train/{name}": float(x[i]) for name, x in metrics.items()}}
        for i in range(steps)
    ]


@pytest.fixture(scope="module")
def noise():
    images = np.random.default_rng(0).choice([0, 255], (32, 4, 4, 1))
    return jnp.asarray(images, jnp.uint8)


def test_a_game_that_d_wins_is_told(noise):
    """G may not move, and D learns at will."""
    found = health.diagnose(played(150, g_rate=0.0, d_rate=3e-2, target=noise))
    assert any("separates real from generated images perfectly" in f.text for f in found)


def test_a_game_that_collapses_is_told(noise):
    """D may not move, so that one image is the best answer to all latents."""
    found = health.diagnose(played(150, g_rate=1e-2, d_rate=0.0, target=noise))
    assert any("Diversity is below" in f.text for f in found)
