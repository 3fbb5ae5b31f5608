"""The nouns: classifier, images, preparation, method, outcomes, evidence, finding; they import nothing above them."""
