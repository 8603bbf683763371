"""What each metric's name means to a reader."""

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True)
class Meaning:
    """How a metric is shown: ``label [unit]`` and one sentence of explanation."""

    label: str
    unit: str = ""
    explanation: str = ""
    short: str = ""  # for the axis of a chart, where the label is long


NATS = "nats per image"
MEANINGS = {
    "loss": Meaning("loss", "", "What training minimizes; the mean over a batch."),
    "nll": Meaning(
        "negative log-likelihood",
        NATS,
        "−log p(x), the mean over the images; lower is better.",
        "NLL",
    ),
    "bits_per_dim": Meaning(
        "bits per dimension",
        "bits/dim",
        "The negative log-likelihood over the number of pixels and channels, in bits; lower is "
        "better.",
    ),
    "elbo": Meaning(
        "evidence lower bound (ELBO)",
        NATS,
        "A lower bound of log p(x): reconstruction minus KL; higher is better.",
        "ELBO",
    ),
    "iwae": Meaning(
        "importance-weighted bound",
        NATS,
        "A lower bound of log p(x) from k importance samples per image (see iwae_k): tighter than "
        "the ELBO, and it rises to log p(x) with k; higher is better.",
        "bound",
    ),
    "iwae_k": Meaning("importance samples per image (k)"),
    "nll_images": Meaning("images the likelihood was measured on"),
    "reconstruction": Meaning(
        "reconstruction term",
        NATS,
        "The mean of log p(x|z) under q(z|x); higher is better.",
        "log p(x|z)",
    ),
    "kl": Meaning(
        "KL(q(z|x) ‖ p(z))",
        NATS,
        "What the latent code says about the image beyond the prior.",
        "KL",
    ),
    "active_units": Meaning(
        "active latent units",
        "",
        "Units whose posterior mean varies over the data (variance above 0.01); the others say "
        "nothing about the image.",
    ),
    "mse": Meaning(
        "mean squared error",
        "",
        "Squared difference of image and reconstruction, pixels in [0, 1]; lower is better.",
    ),
    "pitch_right": Meaning(
        "sounds of the right pitch",
        "",
        "Share of generated sounds whose pitch is within half a semitone of the target pitch.",
    ),
    "nats_per_second": Meaning(
        "negative log-likelihood of sound", "nats per second", "Lower is better."
    ),
    "inertia": Meaning(
        "inertia", "", "Sum of squared distances to the nearest centroid; lower is better."
    ),
    "purity": Meaning(
        "purity", "", "Share of images whose cluster has their class as its most frequent one."
    ),
    "nmi": Meaning(
        "normalized mutual information",
        "",
        "What a cluster says about the class, 0 (nothing) to 1 (all), over the mean entropy.",
    ),
    "explained_variance_ratio": Meaning(
        "explained variance", "", "Share of the data's variance that the components keep."
    ),
    "fid": Meaning(
        "Fréchet distance (FID)",
        "",
        "Between Gaussians fitted to the features of real and of generated images, 0 at best. It "
        "holds for the feature network, the reference and the numbers of images stated with it.",
        "FID",
    ),
    "fid_limit": Meaning(
        "FID for infinitely many samples",
        "",
        "FID falls with the number of generated images; this is where a line through several "
        "numbers of them ends.",
    ),
    "kid": Meaning(
        "kernel distance (KID)",
        "",
        "The unbiased squared MMD of features, which does not fall with the number of images.",
        "KID",
    ),
    "inception_score": Meaning(
        "inception score",
        "",
        "How sure the feature network is of each image's class while all classes come equally "
        "often: 1 to the number of classes.",
    ),
    "precision_k3": Meaning(
        "precision (k = 3)", "", "Share of generated images that lie among the real ones."
    ),
    "recall_k3": Meaning(
        "recall (k = 3)", "", "Share of real images that lie among the generated ones."
    ),
    "density_k5": Meaning(
        "density (k = 5)", "", "How many real images' neighbourhoods a generated one lies in."
    ),
    "coverage_k5": Meaning(
        "coverage (k = 5)", "", "Share of real images with a generated one in their neighbourhood."
    ),
    "neighbours_of": Meaning(
        "compared by neighbours", "", "For precision, recall, density and coverage: the first ones."
    ),
    "classes_covered": Meaning(
        "classes covered", "", "Classes with at least a tenth of their fair share of the samples."
    ),
    "class_balance": Meaning(
        "balance of classes", "", "The entropy of the samples' classes over the largest: 1 at best."
    ),
    "l1": Meaning(
        "L1 distance",
        "levels of 255",
        "The mean absolute difference from the true image; lower is better.",
        "L1",
    ),
    "psnr": Meaning(
        "PSNR", "dB", "10 log₁₀(255² / mean squared error) to the true image; higher is better."
    ),
    "ssim": Meaning(
        "structural similarity (SSIM)",
        "",
        "Likeness of means, contrasts and structures in small windows: 1 only for equal images.",
        "SSIM",
    ),
    "ab_error": Meaning(
        "error of colour",
        "",
        "The mean distance from the true colours in CIELAB's plane (a, b), without lightness; "
        "lower is better.",
        "ab error",
    ),
    "colourfulness": Meaning(
        "colourfulness",
        "",
        "Of generated images, 0 for gray to about 100 (Hasler and Süsstrunk 2003): best when it "
        "equals that of the true images.",
    ),
    "retrieval_top1": Meaning(
        "retrieval, the nearest",
        "",
        "Share of translations that are nearer to their own true image than to all others, in "
        "pixels.",
    ),
    "retrieval_top5": Meaning(
        "retrieval, five nearest",
        "",
        "Share of translations whose own true image is one of the five nearest, in pixels.",
    ),
    "label_kept": Meaning(
        "label kept", "", "Share of translations that a classifier gives their source's label."
    ),
    "digit": Meaning(
        "digit",
        "",
        "Share of images that a classifier reads as the digit that their sentence says, of those "
        "whose sentence says one.",
    ),
    **{
        name: Meaning(
            name,
            "",
            f"Share of images whose measured {name} is what their sentence says, of those whose "
            "sentence says one.",
        )
        for name in ("thickness", "slant", "width", "ink", "paper")
    },
    "slant_side": Meaning(
        "side of the slant",
        "",
        "Share of images that lean to the side that their sentence says, of those whose sentence "
        "says left or right.",
    ),
    "all_said": Meaning(
        "all that is said", "", "Share of images that show all their sentence says."
    ),
    "r_precision": Meaning(
        "R-precision",
        "",
        "Share of images nearer to their own sentence than to 99 wrong ones, or as many as there "
        "are, in the space that both are embedded in.",
    ),
    "retrieved": Meaning(
        "retrieved",
        "",
        "Share of generated images whose nearest real one, as embedded, is one that their sentence "
        "describes.",
    ),
    "text_precision": Meaning(
        "precision of sentences",
        "",
        "Share of sentences whose nearest image, as embedded, is one that they describe.",
    ),
    "image_accuracy": Meaning(
        "images' own sentences first",
        "",
        "Share of images that are nearer to their own sentence than to those of the others in a "
        "batch.",
    ),
    "text_accuracy": Meaning(
        "sentences' own images first",
        "",
        "Share of sentences that are nearer to their own image than to the others in a batch.",
    ),
    "valid": Meaning(
        "valid plans",
        "",
        "Share of mazes whose plan is exactly a path from start to goal and fulfils all wishes.",
    ),
    "optimal": Meaning(
        "shortest plans",
        "",
        "Share of the valid plans that are as short as the shortest path with the same wishes.",
    ),
    "excess": Meaning(
        "excess", "steps", "How much longer a valid plan is than the shortest one, on average."
    ),
    "kept": Meaning("wishes kept", "", "Share of plans that fulfil all wishes, valid or not."),
    "bits_per_dim/own": Meaning(
        "bits per dimension, given their own source",
        "bits/dim",
        "Of test images under the model, given what it is to complete; lower is better.",
    ),
    "bits_per_dim/other": Meaning(
        "bits per dimension, given another's source",
        "bits/dim",
        "Of the same images, given another's source: the excess over their own source's is what "
        "the model learns from the source.",
    ),
    "bits_per_dim/drawn": Meaning(
        "bits per dimension of draws",
        "bits/dim",
        "Of the model's own draws, given the same sources: below the test images' where the model "
        "is too sure of itself.",
    ),
    "bits_per_dim/colourless": Meaning(
        "bits per dimension, colourless",
        "bits/dim",
        "Of an image if all colours of a pixel's gray level were equally probable.",
    ),
    "likelier": Meaning(
        "likelier than the truth",
        "",
        "Share of draws to which the model gives a higher likelihood than to the true image: 1/2 "
        "on average for the true distribution.",
    ),
    "logit": Meaning(
        "discriminator's logit",
        "",
        "D's output on real and generated images in training, and in evaluation on training, "
        "held-out and generated ones. Held-out far below training images: D has memorized these.",
        "logit",
    ),
    "error": Meaning(
        "reconstruction error",
        "",
        "The mean absolute error of BEGAN's discriminator, pixels in [−1, 1].",
    ),
    "gradient": Meaning("norm of the gradient", "", "Of each player's loss."),
    "separation": Meaning(
        "separation",
        "",
        "Share of logits on their side of the midpoint of both means: 1 where D separates real "
        "from generated images perfectly, 1/2 where not at all.",
    ),
    "diversity": Meaning(
        "diversity",
        "",
        "The standard deviation of generated pixels over a batch, divided by that of real pixels.",
    ),
    "convergence": Meaning("BEGAN's convergence measure M", "", "Lower is better.", "M"),
    "k": Meaning("BEGAN's k", "", "The weight of generated images in the discriminator's loss."),
    "examples_per_s": Meaning("examples per second", "examples/s"),
    "compile_s": Meaning("compiling", "s"),
    "seconds": Meaning("time", "s"),
}
BINARIZATIONS = {
    "dynamic": "Pixels are drawn anew each time the image is used, 1 with probability level/255.",
    "threshold": "A pixel is 1 where its level is 128 or more.",
}


def describe(name: str, metrics: Mapping[str, Any]) -> Meaning:
    """The meaning of ``split/metric``; ``metrics`` are the run's others, such as its ``iwae_k``."""
    split, base = split_name(name)
    if base == "binarization":
        explanation = BINARIZATIONS.get(str(metrics[name]), "")
        return Meaning(base, "", f"{explanation} Likelihoods under different ones do not compare.")
    meaning = MEANINGS.get(base)
    if meaning is None:
        return Meaning(name.replace("_", " ").replace("/", ", "))
    words = split.replace("/", " ").replace("-", " ")
    label = f"{words} {meaning.label}" if split and split != "speed" else meaning.label
    return dataclasses.replace(meaning, label=label)


def split_name(name: str) -> tuple[str, str]:
    """What stands before the metric in its name, and the metric: of ``test/bits_per_dim/own`` it is
    ``bits_per_dim/own`` where that has a meaning, else ``own``."""
    parts = name.split("/")
    for at in range(len(parts)):
        base = "/".join(parts[at:])
        if base in MEANINGS:
            return "/".join(parts[:at]), base
    return "/".join(parts[:-1]), parts[-1]
