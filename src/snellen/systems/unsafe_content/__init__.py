"""UnsafeBench and PerspectiveVision: image safety classifiers measured, and one that follows a policy in words."""
