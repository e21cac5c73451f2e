"""Keras's Adam, in one pass over the weights on torch."""

import keras


class _Fused:
    """Has torch's fused kernel take the step, where Keras makes ten passes over every weight."""

    def _backend_update_step(self, grads, trainable_variables, learning_rate):
        if keras.backend.backend() != "torch" or self.amsgrad:
            super()._backend_update_step(grads, trainable_variables, learning_rate)
            return
        import torch

        step = float(self.iterations) + 1
        indices = [self._get_variable_index(variable) for variable in trainable_variables]
        weights = [variable.value for variable in trainable_variables]
        with torch.no_grad():
            torch._fused_adam_(
                weights,
                grads,
                [self._momentums[i].value for i in indices],
                [self._velocities[i].value for i in indices],
                [],
                [torch.tensor(step, device=weight.device) for weight in weights],
                lr=float(learning_rate),
                beta1=self.beta_1,
                beta2=self.beta_2,
                weight_decay=0.0,  # Keras has taken it off before
                # torch corrects the bias of the velocity before epsilon is added to its root, and
                # Keras after.
                eps=self.epsilon / (1 - self.beta_2**step) ** 0.5,
                amsgrad=False,
                maximize=False,
            )


class Adam(_Fused, keras.optimizers.Adam):
    """`keras.optimizers.Adam`."""


class AdamW(_Fused, keras.optimizers.AdamW):
    """`keras.optimizers.AdamW`."""
