#!/usr/bin/env bash
# lightning 2.6.6: EMAWeightAveraging(update_starting_at_step=100) in a run that ends before step 100 returns the model
# as it was before training. Until the first update the average is a copy of the first weights; validation is shown
# these, checkpoints hold them under "state_dict", and at the end they are copied over the trained ones, without a
# warning. A checkpoint written during training has what was learnt under "current_model_state"; one saved afterwards
# has it nowhere. The same copy makes every validation before step 100 of a long run one of the untrained model, so
# ModelCheckpoint(monitor=...) chooses blindly. WeightAveraging with an own should_update does the same.
#
# Output seen:  no callback: validations see 0.67, 0.89, 0.96, 0.99; after fit 0.99
#               average from step 100 on: validations see 0.00, 0.00, 0.00, 0.00; after fit 0.00
#               checkpoint of step 15: state_dict 0.00, current_model_state 0.96; saved after fit: 0.00, 0.00
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet lightning==2.6.6 torch==2.14.1 numpy==2.4.6
cd "$folder"
venv/bin/python - <<'PYTHON' 2> said || { cat said; exit 1; }
import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging
from torch.utils.data import DataLoader


class Slope(pl.LightningModule):
    """One weight that starts at 0 and learns to be 1."""

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_index):
        return (self.slope - 1) ** 2

    def validation_step(self, batch, batch_index):
        self.seen.append(float(self.slope))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


class SaveAtStep15(Callback):
    def on_train_epoch_end(self, trainer, module):
        if trainer.global_step == 15:
            trainer.save_checkpoint("during.ckpt")


def fit(*callbacks):
    """The weight at each of four validations, and after 20 steps of training."""
    model = Slope()
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=20, callbacks=[*callbacks, SaveAtStep15()], logger=False, num_sanity_val_steps=0,
        enable_progress_bar=False, enable_model_summary=False, enable_checkpointing=False,
    )
    trainer.fit(model, DataLoader(torch.zeros(5, 1)), DataLoader(torch.zeros(1, 1)))
    trainer.save_checkpoint("after.ckpt")
    return model.seen, float(model.slope.detach())


def in_file(name):
    checkpoint = torch.load(name, weights_only=False)
    return [float(checkpoint[key]["slope"]) for key in ("state_dict", "current_model_state")]


def shown(weights):
    return ", ".join(f"{weight:.2f}" for weight in weights)


learnt, last = fit()
print(f"no callback: validations see {shown(learnt)}; after fit {last:.2f}")
seen, left = fit(EMAWeightAveraging(decay=0.9, update_starting_at_step=100))
print(f"average from step 100 on: validations see {shown(seen)}; after fit {left:.2f}")
during, after = in_file("during.ckpt"), in_file("after.ckpt")
print(
    f"checkpoint of step 15: state_dict {during[0]:.2f}, current_model_state {during[1]:.2f}; "
    f"saved after fit: {shown(after)}"
)
assert min(learnt) > 0.6 and last > 0.9
assert seen == [0.0] * 4 and left == 0.0
assert during[0] == 0.0 and during[1] > 0.9 and after == [0.0, 0.0]
PYTHON
if grep -iE "averag|initial|untrained" said; then exit 1; fi
