"""The bundle as a Functional Mock-up Unit: FMI 3.0 and 2.0, Model Exchange and Co-Simulation, with its proof inside."""
