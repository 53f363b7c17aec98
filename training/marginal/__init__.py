"""People integrated out: the marginal likelihood of everyone by Laplace's method, its kinks, and what is made small of it."""
