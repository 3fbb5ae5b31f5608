"""System 2: at which strength of a generated nuisance classifiers of several families break."""
