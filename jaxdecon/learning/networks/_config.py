"""What a network is made of, in one dataclass that fits into a file."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ..._core._check import check_choice, check_count

KINDS = ("densedeconnet", "rln", "rcan", "unrolled")
CHOICES = {
    "norm": ("none", "group", "batch"),
    "start": ("matched", "wiener"),
    "dtype": ("float32", "bfloat16"),
}
LEAST = {
    "views": 1,
    "width": 1,
    "depth": 1,
    "blocks": 1,
    "reduction": 1,
    "window": 1,
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class NetworkConfig:
    """The configuration of a network of any kind.

    None means the kind's own default, or that the kind has no such choice. The
    `config` of a network has all of its kind's choices filled in.

    Attributes:
        kind: "densedeconnet", "rln", "rcan" (residual channel attention) or "unrolled".
        ndim: spatial axes, 2 or 3.
        views: images of one object that go in.
        width: channels: of the narrow layers (densedeconnet, rln), of all features
            (rcan), of the prior (unrolled).
        depth: residual groups (rcan), or steps (unrolled).
        blocks: attention blocks in a group (rcan).
        reduction: by which attention narrows its channels (rcan).
        window: radius in voxels of the neighbourhood that attention averages (rcan);
            None: all of the image.
        norm: "none", "group" or "batch"; see `Norm`.
        residual: whether the network gives what is to be added to the mean of the
            views, or, as published, the estimate itself (densedeconnet, rcan).
        bias: whether convolutions have one where no normalisation follows
            (densedeconnet). Without, and without normalisation, a network of twice
            the image is twice the network of the image.
        physics: whether operator and adjoint are in the wiring (rln).
        start: what the back projector is before training: "matched" or "wiener"
            (unrolled).
        dtype: of convolutions: "float32" or "bfloat16". Parameters, transforms and
            results are float32 either way.

    Raises:
        ValueError: an unknown kind or choice, or a number that is too small.
        TypeError: not a whole number, or neither true nor false.
    """

    kind: str
    ndim: int = 3
    views: int = 1
    width: int | None = None
    depth: int | None = None
    blocks: int | None = None
    reduction: int | None = None
    window: int | None = None
    norm: str | None = None
    residual: bool | None = None
    bias: bool | None = None
    physics: bool | None = None
    start: str | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, KINDS)
        if self.ndim not in (2, 3):
            raise ValueError(f"`ndim` is {self.ndim}; 2 or 3 is needed.")
        for name, least in LEAST.items():
            if (value := getattr(self, name)) is not None:
                check_count(name, value, least)
        for name, choices in CHOICES.items():
            if (value := getattr(self, name)) is not None:
                check_choice(name, value, choices)
        for name in ("residual", "bias", "physics"):
            if getattr(self, name) not in (None, True, False):
                raise TypeError(
                    f"`{name}` is {getattr(self, name)!r}; true or false is needed."
                )

    def to_dict(self) -> dict[str, Any]:
        """The choices made, as a dictionary that JSON can hold."""
        values = dataclasses.asdict(self)
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NetworkConfig":
        """The configuration of a dictionary.

        Raises:
            ValueError: a name that is none of the choices, or no kind.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        if unknown := sorted(set(values) - set(known)):
            raise ValueError(
                f"a network has no {', '.join(unknown)}; known are {', '.join(known)}. "
                f"A file of a newer version needs that version."
            )
        if "kind" not in values:
            raise ValueError(f"`kind` is missing; one of {', '.join(KINDS)} is needed.")
        return cls(**values)
