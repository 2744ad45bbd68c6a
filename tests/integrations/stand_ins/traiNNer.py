"""traiNNer-redux: traiNNer/utils/registry.py (commit 0708929b) and traiNNer/losses/__init__.py (commit 0cd93be8)."""

from tests.integrations.stand_ins import Registry, builder

LOSS_REGISTRY = Registry("traiNNer", fold=str.lower)

MODULES = {
    "traiNNer": {},
    "traiNNer.utils": {},
    "traiNNer.utils.registry": {"LOSS_REGISTRY": LOSS_REGISTRY},
    "traiNNer.losses": {"build_loss": builder(LOSS_REGISTRY)},
}
