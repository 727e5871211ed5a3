"""Parts of the simulated population: anatomy, rhythm, the shape of a beat."""
