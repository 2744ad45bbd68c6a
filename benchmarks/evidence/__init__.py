"""What DECLoss does to pictures: trainings that differ in one setting, measured on held-out photographs.

    python -m benchmarks.evidence --photos DIR --heldout DIR --lpips FILE --vgg FILE --out DIR [--plan small]

The data flows one way. `plan` says what is trained and what it is compared with. `study` goes through the plan: it has
each run trained (`training`), measures its outputs (`heldout`), and writes a record (`records`), so that the same
command goes on after a kill. `estimate` says before that how long it takes. `report` makes one table, one plot and one
sheet of crops of the records, with the intervals and paired differences of `statistics`. `photographs` prepares the
photographs.
"""
