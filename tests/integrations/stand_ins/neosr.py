"""neosr: neosr/utils/registry.py (commit 0199ef57) and neosr/losses/__init__.py (commit c5d54ee4)."""

from tests.integrations.stand_ins import Registry, builder

LOSS_REGISTRY = Registry("neosr")

MODULES = {
    "neosr": {},
    "neosr.utils": {},
    "neosr.utils.registry": {"LOSS_REGISTRY": LOSS_REGISTRY},
    "neosr.losses": {"build_loss": builder(LOSS_REGISTRY)},
}
