"""The experiment of system 18: concepts with an idiosyncratic clause, labelled by stand-ins of known error."""
