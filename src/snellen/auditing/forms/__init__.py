"""Documents that journals, hospitals and model hubs want, filled in from an audit as far as it measured."""
