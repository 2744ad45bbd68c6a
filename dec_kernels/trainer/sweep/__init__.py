"""`dec-train sweep`: trainings that differ in a few settings, with one table and one figure of what came out.

    dec-train sweep --config thresholds --out runs/thresholds
    dec-train sweep --config thresholds --out runs/thresholds --trainer.max_epochs 20   for each of its trainings
    dec-train sweep --config thresholds --out runs/thresholds --figure-only             draw what there is anew

A sweep is a YAML file: one of those that ship with the package, by its name, or a file of your own.

    title: Threshold of the positives
    base: paper_l1_lp_dec                 the config of every training: a shipped one's name, or a file
    settings: {data.batch_size: 16}       optional: what all trainings have beside it
    figure: {kind: line, x: {label: "threshold [dB]", setting: model.dec.init_args.threshold}}
    runs:                                 name: what this training alone has
      30 dB: {model.dec.init_args.threshold: 30.0}
      34 dB: {model.dec.init_args.threshold: 34.0}

`figure.series` divides the runs into several lines, as `temperatures` and `perception_distortion` do.

Each training is a `dec-train fit --resume auto` in a folder of its own, on one device, one after another: what is
finished is not trained again, what was cut off goes on. A training that fails does not keep the others from running.
"""

from dec_kernels.trainer.sweep.run import main
from dec_kernels.trainer.sweep.spec import load_sweep, to_arguments

__all__ = ["load_sweep", "main", "to_arguments"]
