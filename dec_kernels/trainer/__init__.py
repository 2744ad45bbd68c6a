"""Reference trainer for super-resolution networks with DECLoss, built on Lightning.

`dec-train fit --config ...` trains: the command is in `dec_train.py`, all else in `dec_kernels.trainer.cli`.
`python -m dec_kernels.trainer.demo` shows in about three minutes what the loss does. The trainer uses the loss as any
user would, by `from dec_kernels import DECLoss`; `dec_kernels` itself needs nothing from here.
"""

from importlib.util import find_spec

_NEEDED = (
    "lightning",
    "torchmetrics",
    "jsonargparse",
    "cv2",
    "PIL",
    "rich",
    "matplotlib",
    "scipy",
    "skimage",
    "tensorboard",
    "yaml",
    "safetensors",
)

_missing = [name for name in _NEEDED if find_spec(name) is None]
if _missing:
    raise ImportError(
        f"dec_kernels.trainer needs {', '.join(_missing)}, which this Python does not have: "
        "pip install 'dec-kernels[trainer]'"
    )
