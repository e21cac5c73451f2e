"""Learning rates as functions of the step."""

import math

import keras
from keras import ops

from training.recipe import Schedule, UserError


class Rate(keras.optimizers.schedules.LearningRateSchedule):
    """Linear growth over the warm-up, a decay, and linear decline over the cooldown; with
    s = step + 1, w = warmup_steps, c = cooldown_steps and T = total_steps,

    rate(s) = peak * min(s / w, 1) * decay(s) * min((T + 1 - s) / c, 1)

    - `constant`: decay = 1
    - `inverse_sqrt`: decay = min(1, sqrt(w / s)). Vaswani et al., "Attention Is All You Need",
      2017, equation 3, is this with peak = (d_model * w)**-0.5.
    - `cosine`: decay falls from 1 to `final_fraction` in half a wave. Loshchilov and Hutter,
      "SGDR", 2017, equation 5, without restarts.

    The cooldown is that of Hägele et al., "Scaling Laws and Compute-Optimal Training Beyond Fixed
    Training Durations", 2024, section 3.

    Args:
        decay: name of the decay.
        peak: the largest rate.
        warmup_steps: 0 for none.
        total_steps: where `cosine` and the cooldown end, and stay.
        final_fraction: of the peak, for `cosine`.
        cooldown_steps: 0 for none.
    """

    def __init__(
        self,
        decay,
        peak,
        warmup_steps=0,
        total_steps=0,
        final_fraction=0.0,
        cooldown_steps=0,
    ):
        self.decay = decay
        self.peak = peak
        self.warmup_steps = warmup_steps
        self.total_steps = total_steps
        self.final_fraction = final_fraction
        self.cooldown_steps = cooldown_steps

    def __call__(self, step):
        s = ops.cast(step, "float32") + 1.0
        w = float(max(1, self.warmup_steps))
        rate = self.peak * ops.minimum(s / w, 1.0)
        if self.cooldown_steps:
            rate *= ops.clip((self.total_steps + 1.0 - s) / self.cooldown_steps, 0.0, 1.0)
        if self.decay == "inverse_sqrt":
            return rate * ops.rsqrt(ops.maximum(s / w, 1.0))
        if self.decay == "cosine":
            done = (s - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
            wave = 0.5 + 0.5 * ops.cos(math.pi * ops.clip(done, 0.0, 1.0))
            return rate * (self.final_fraction + (1 - self.final_fraction) * wave)
        return rate

    def get_config(self):
        return dict(vars(self))


def make(options: Schedule, learning_rate: float, total_steps: int):
    """The rate that a Keras optimizer is given: a number, or a schedule.

    Args:
        options: as in a recipe. `plateau` is a number here, and a callback that changes it.
        learning_rate: the largest rate.
        total_steps: of the whole training.

    Raises:
        UserError: `plateau` with a warm-up or a cooldown.
    """
    ramps = [kind for kind in ("warmup", "cooldown") if getattr(options, f"{kind}_steps")]
    if options.name == "plateau" and ramps:
        wrong = f"--schedule.{ramps[0]}-steps"
        raise UserError(f"--schedule.name plateau has no {wrong}: leave one out")
    if options.name == "plateau" or (options.name == "constant" and not ramps):
        return learning_rate
    return Rate(
        options.name,
        learning_rate,
        options.warmup_steps,
        total_steps,
        options.final_fraction,
        options.cooldown_steps,
    )
