"""The experiment of feature-guided black-box testing."""
