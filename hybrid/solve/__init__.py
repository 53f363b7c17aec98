"""The machine room: solvers, tableaus, marching, kernels. It knows a field, segments and layers, and no model."""
