"""What is fitted: records, losses, ensembles, personalisation, scores."""
