"""Pictures of what a modeller looks at after a fit: predictive checks, NPDE, residuals, fits, η against covariates."""
