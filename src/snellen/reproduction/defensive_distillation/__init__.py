"""The experiment of FGSM, Carlini–Wagner and defensive distillation."""
