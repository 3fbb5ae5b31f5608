"""Networks on vectors of a frozen encoder that decide about bags, and about an instance as a bag of its own."""
