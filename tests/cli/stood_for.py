"""Options of a command beside the parameters of the function of the package that they stand for."""

import inspect

from snellen.cli.on_images import model_choice
from snellen.cli.run_options import reading

#: Loading is the business of load_classifier and load_images; how a result is shown that of the terminal.
OWN = {
    "classes", "device", "model_args", "size", "mean", "std", "allow_remote", "as_json", "dry_run", "masks", "table"
}  # fmt: skip

_SPELLED = {"data": "images", "methods": "method", "model": "classifier", "column": "columns", "severity": "severities"}


def check_options(command, function, own=()):
    """Each option has the default of its parameter, and every parameter has an option."""
    options = dict(inspect.signature(command).parameters)
    for name, group in (("model_choice", model_choice), ("reading", reading)):
        if options.pop(name, None) is not None:
            options |= inspect.signature(group).parameters
    parameters = inspect.signature(function).parameters
    here = {_SPELLED.get(name, name): option for name, option in options.items() if name not in {*OWN, *own}}
    for name, option in here.items():
        if option.default is not inspect.Parameter.empty and parameters[name].default is not inspect.Parameter.empty:
            assert option.default == parameters[name].default, name
    absent = {"progress", "labels", "class_names"} | ({"images", "classifier"} if "places" in own else set())
    assert set(here) == set(parameters) - absent
