# Copyright The phaseattr Authors
# SPDX-License-Identifier: Apache-2.0

"""The same phases without a loop of one's own: for Lightning and for the Trainer of Transformers."""

from lightning.pytorch import Callback
from transformers import TrainerCallback

from phases import phase


class Steps:
    """Opens a span as a step begins and closes it as it ends."""

    def begin(self, name):
        self.span = phase(name)
        self.span.__enter__()

    def end(self):
        self.span.__exit__(None, None, None)


class LightningPhases(Callback, Steps):
    def on_train_batch_start(self, *args):
        self.begin("step")

    def on_train_batch_end(self, *args):
        self.end()


class TrainerPhases(TrainerCallback, Steps):
    def on_step_begin(self, *args, **kwargs):
        self.begin("step")

    def on_step_end(self, *args, **kwargs):
        self.end()
