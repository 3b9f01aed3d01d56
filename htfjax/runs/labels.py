"""Labels of recorded quantities: what a name means, and in which unit."""

LONG_NAMES = {
    "chord": "distance of the parameters to those of the next record",
    "duration": "flow time to the next record",
    "grad_norm": "norm of the gradient",
    "local_component_norm": "norm of each local component",
    "loss": "loss that is descended",
    "node_label": "modes of the node",
    "relative_error": "distance from the target over its norm",
    "seed": "seed of the run",
    "singular_value": "singular values of a matricization, descending",
    "slow_steps": "steps in the eps phase of GroupRMSprop",
    "status": "how the run stands",
    "step": "steps of descent before the record",
    "step_length": "norm of the update of that step",
    "steps": "steps made and on disk",
    "stop_step": "step of the record at which the run stopped, -1 if it did not",
    "test_mse": "mean squared error on held-out data",
    "train_mse": "mean squared error on the observed data",
    "width": "local components of the node",
}


def attributes(name: str) -> dict[str, str]:
    """`long_name` and `units` of a variable; all but words are plain numbers.

    Example:
      >>> attributes("effective_rank")
      {'long_name': 'effective rank', 'units': '1'}
    """
    long_name = LONG_NAMES.get(name, name.replace("_", " "))
    return {"long_name": long_name} | ({} if name == "status" else {"units": "1"})
