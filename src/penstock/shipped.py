"""What comes with Penstock as data, loaded: the weights of the content model, and the rules for receivers' replies."""

from __future__ import annotations

from importlib import resources

from penstock.config import Settings
from penstock.judge.content import ContentModel
from penstock.protocols.receivers import Replies


def load_model(settings: Settings) -> ContentModel:
    """The content model: the configured weights, or those that come with Penstock. Raises OSError, ValueError."""
    if settings.judge.model is not None:
        return ContentModel.from_bytes(settings.judge.model.read_bytes())
    return ContentModel.from_bytes((resources.files("penstock") / "weights" / "content.bin").read_bytes())


def load_replies() -> Replies:
    """The rules for what receivers' replies mean, as they come with Penstock."""
    return Replies((resources.files("penstock.protocols") / "replies.toml").read_text("utf-8"))
